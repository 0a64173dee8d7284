"""Devices by name: built in, brought by other packages, or handed in by whoever keeps what users added.

Listing devices loads no runtime, no numpy and no torch; opening one loads what it needs.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nuwa_search.core.device import Device, DeviceKind, DeviceSpec
from nuwa_search.core.emulator import EMULATOR_VERSION, device_label, is_outdated, split_label
from nuwa_search.core.errors import NuwaError, NuwaWarning
from nuwa_search.core.extensions import DEVICES, RUNTIMES, device_kind, extensions, package_of
from nuwa_search.core.suggest import unknown_name
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.devices.host_facts import host_spec, openvino_spec
from nuwa_search.latency.devices.pool_spec import is_pool

if TYPE_CHECKING:
    from nuwa_search.core.transport import Reach

CUDA_NAME = "cuda"
OPENVINO_NAME = "openvino"
_HINT = "nuwa device ls lists all, nuwa device add adds one"


def builtin_specs() -> dict[str, DeviceSpec]:
    """List emulated boards, the host, OpenVINO where installed, and a CUDA GPU where torch is loaded and sees one."""
    found = {**EMULATED_SPECS, "host": host_spec()}
    openvino = openvino_spec()
    if openvino is not None:
        found[OPENVINO_NAME] = openvino
    cuda = _loaded_cuda_spec()
    if cuda is not None:
        found[CUDA_NAME] = cuda
    return {**brought_specs(), **found}


def brought_specs() -> dict[str, DeviceSpec]:
    """List what other packages bring: their kinds of devices, and this CPU with their runtimes.

    A package whose module cannot be imported is left out with a warning: other devices work without it.
    """
    found = {
        name: replace(
            host_spec(),
            name=name,
            runtime=name,
            runtime_version=entry.dist.version if entry.dist is not None else "",
            note=f"{name} on this CPU, 1 thread, from {package_of(entry)}",
        )
        for name, entry in extensions(RUNTIMES).items()
    }
    for kind in extensions(DEVICES):
        try:
            specs = device_kind(kind).device_specs()
        except NuwaError as error:
            warnings.warn(f"devices of kind {kind} are left out: {error.message}", NuwaWarning, stacklevel=2)
            continue
        found |= {spec.name: spec for spec in specs}
    return found


def device_spec(name: str, *, extra: Mapping[str, DeviceSpec] | None = None) -> DeviceSpec:
    """Find a device by name; one that a user added hides a built-in of the same name.

    Args:
        name: Name in the registry.
        extra: Devices that users added.

    Raises:
        NuwaError: If no device has that name, or ``cuda`` or ``openvino`` is asked for where there is none.
    """
    known = {**builtin_specs(), **(extra or {})}
    if name in known:
        return known[name]
    if name == CUDA_NAME:
        from nuwa_search.latency.devices.cuda import cuda_spec  # loads torch, which nothing else here needs

        return cuda_spec()
    if name == OPENVINO_NAME:
        raise NuwaError(
            "device openvino was asked for, and OpenVINO is not installed", hint="pip install 'nuwa-search[openvino]'"
        )
    plain, version = split_label(name)
    if version is not None and plain in known:
        raise outdated(name, plain)
    raise unknown_name("device", name, [*known, CUDA_NAME, OPENVINO_NAME], hint=_HINT)


def outdated(label: str, name: str) -> NuwaError:
    """Make the error for figures of another emulator, which can be read but not added to."""
    return NuwaError(
        f"{label} is what another version of the emulator measured, and this program has version {EMULATOR_VERSION}: "
        "its rows can be read, and none are added or fitted",
        hint=f"nuwa profile {name}, which measures the table anew; nuwa query --device {label} shows the old rows",
    )


def open_device(
    spec: DeviceSpec, *, seed: int = 0, keeps_engines: bool = False, reach: "Reach | None" = None
) -> Device:
    """Open a device for measuring.

    Args:
        spec: From ``device_spec``.
        seed: Seed of an emulated device's noise and of random images; each seed is a session of its own.
        keeps_engines: Whether a board keeps what it builds until it is told to forget it, beyond this program's end.
        reach: Finds the way to a board; None goes there from here.

    Raises:
        NuwaError: If the runtime behind the device is not installed, or it is an earlier emulator's.
        OutsideError: If the device cannot be reached.
    """
    openers: dict[DeviceKind, Callable[[DeviceSpec, int], Device]] = {
        "emulated": _open_emulated,
        "host": _open_host,
        "openvino": _open_host,
        "cuda": _open_cuda,
        "ssh": lambda spec, _: _open_ssh(spec, keeps_engines=keeps_engines, reach=reach),
    }
    if is_outdated(spec):
        raise outdated(device_label(spec), spec.name)
    if is_pool(spec):
        raise NuwaError(
            f"{spec.name} is a pool of boards, and this needs one board",
            hint=f"nuwa device show {spec.name} lists them",
        )
    opener = openers.get(spec.kind)
    if opener is None and spec.kind in extensions(DEVICES):
        return device_kind(spec.kind).open_device(spec, seed=seed)
    if opener is None:
        known = ", ".join([*openers, *extensions(DEVICES)])
        raise NuwaError(f"device {spec.name} is of unknown kind {spec.kind!r}", hint=f"known kinds: {known}")
    return opener(spec, seed)


def _open_emulated(spec: DeviceSpec, seed: int) -> Device:
    from nuwa_search.latency.devices.emulated import EmulatedDevice

    return EmulatedDevice(spec, seed=seed)


def _open_host(spec: DeviceSpec, seed: int) -> Device:
    from nuwa_search.latency.devices.host import HostDevice

    return HostDevice(spec, seed=seed)


def _open_cuda(spec: DeviceSpec, seed: int) -> Device:
    from nuwa_search.latency.devices.cuda import CudaDevice

    return CudaDevice(spec, seed=seed)


def _open_ssh(spec: DeviceSpec, *, keeps_engines: bool, reach: "Reach | None") -> Device:
    from nuwa_search.latency.devices.ssh import ssh_device_from_spec
    from nuwa_search.latency.devices.ssh_settings import SshSettings

    return ssh_device_from_spec(spec, settings=SshSettings(keeps_engines=keeps_engines), reach=reach)


def _loaded_cuda_spec() -> DeviceSpec | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    from nuwa_search.latency.devices.cuda import cuda_spec

    return cuda_spec()
