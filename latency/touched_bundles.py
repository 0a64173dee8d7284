"""Which shipped bundles a device's new software touches: what each was certified on, beside what is there now."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.emulator import split_label
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.store.store import Store

# What an engine is bound to: TensorRT reads no plan of another version or GPU.
_REBUILD = ("runtime_version", "compute_capability", "chip")
# What only its speed hangs on: the engine runs on, and its latency is another.
_REMEASURE = ("l4t", "power_mode", "gpu_max_hz", "cpus_online", "cpu_max_khz", "cpu", "threads", "emulator")


@dataclass(frozen=True)
class Touched:
    """One shipped bundle against the device as it is now.

    Args:
        dir: Its folder.
        subnet_id: Its identity.
        verdict: Of its certificate.
        rebuild: Changes for which its engine has to be built again, such as ``runtime_version 8.2.1 -> 8.5.2``.
        remeasure: Changes for which its latency has to be measured again.
        missing: Why it could not be read, or is no longer this device's; empty where it could.
        is_of_another: Whether it was read, and is certified for another device or for none.
    """

    dir: str
    subnet_id: str
    verdict: str
    rebuild: tuple[str, ...] = ()
    remeasure: tuple[str, ...] = ()
    missing: str = ""
    is_of_another: bool = False

    @property
    def action(self) -> str:
        """``rebuild``, ``measure``, ``none``, or ``missing`` for a bundle that is not there any more."""
        if self.missing:
            return "missing"
        return "rebuild" if self.rebuild else "measure" if self.remeasure else "none"

    def to_json(self) -> dict[str, Any]:
        """Render one row of the answer."""
        return {
            "dir": self.dir,
            "subnet_id": self.subnet_id,
            "verdict": self.verdict,
            "action": self.action,
            "changes": [*self.rebuild, *self.remeasure],
            "missing": self.missing,
        }


def device_now(spec: DeviceSpec) -> dict[str, str]:
    """Ask a device what runs there now.

    Raises:
        OutsideError: If it cannot be reached.
    """
    facts = _facts_of(spec)
    if spec.kind != "ssh":  # built in: its spec is made of what is installed here just now
        return {name: value for name, value in facts.items() if value}
    from nuwa_search.latency.devices.ssh import SshDevice

    with opened_device(spec) as device:
        if not isinstance(device, SshDevice):
            raise OutsideError(f"{spec.name} is no board over SSH")
        facts |= device.facts_now()
    return {name: value for name, value in facts.items() if value}


def touched_below(folder: Path, spec: DeviceSpec, now: Mapping[str, str]) -> list[Touched]:
    """Compare the bundles for a device in a folder and all below it with what runs there now, by path.

    Raises:
        NuwaError: If there is no such folder.
    """
    if not folder.is_dir():
        raise NuwaError(f"no folder at {folder}", hint="name a folder that holds bundles, or leave it out")
    rows = (_touched(path.parent, {}, spec, now) for path in sorted(folder.rglob(CERTIFICATE)))
    return [row for row in rows if not row.is_of_another]


def touched_bundles(store: Store, spec: DeviceSpec, now: Mapping[str, str]) -> list[Touched]:
    """Compare every bundle that was certified for a device with what runs there now, newest first."""
    found: dict[str, Touched] = {}
    for row in store.certificates.find():  # those of earlier emulators stand under names of their own
        path = row.get("path")
        if path is None or split_label(row["device"])[0] != spec.name or str(Path(path).parent) in found:
            continue
        folder = Path(path).parent
        found[str(folder)] = _touched(folder, row, spec, now)
    return list(found.values())


def _touched(folder: Path, row: Mapping[str, Any], spec: DeviceSpec, now: Mapping[str, str]) -> Touched:
    subnet_id, verdict = str(row.get("subnet_id") or ""), str(row.get("verdict") or "")
    try:
        certificate = read_bundle(folder).certificate
    except NuwaError as error:
        return Touched(str(folder), subnet_id, verdict, missing=error.message)
    if certificate is None or certificate.device.name != spec.name:
        other = "without a certificate" if certificate is None else f"certified for {certificate.device.name}"
        return Touched(str(folder), subnet_id, verdict, missing=f"it is {other} by now", is_of_another=True)
    then = _certified_on(certificate)
    # Only a board keeps engines: the other kinds load the ONNX file itself, and nothing has to be built again.
    rebuild, remeasure = touches(then, now, has_engine=spec.kind == "ssh")
    return Touched(
        str(folder),
        certificate.subnet_id,
        certificate.verdict,
        rebuild=rebuild,
        remeasure=remeasure,
    )


def touches(
    then: Mapping[str, str], now: Mapping[str, str], *, has_engine: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the changes for which an engine has to be built again, and those for which it has to be timed again.

    Args:
        then: Facts of the device when the bundle was certified.
        now: Facts of the device now; what one side lacks is no change.
        has_engine: Whether there is an engine that a change can make unreadable.
    """
    if not has_engine:
        return (), _changes(then, now, (*_REBUILD, *_REMEASURE))
    return _changes(then, now, _REBUILD), _changes(then, now, _REMEASURE)


def _certified_on(certificate: Certificate) -> dict[str, str]:
    spec = certificate.device
    state = dict(certificate.measurement.state) if certificate.measurement else {}
    return {**state, **_facts_of(spec)}


def _facts_of(spec: DeviceSpec) -> dict[str, str]:
    """What a spec itself says; addresses and the like are no facts of a bundle."""
    options = {name: value for name, value in spec.options if name in _REMEASURE}
    facts = {"runtime_version": spec.runtime_version, "compute_capability": spec.compute_capability or ""}
    return {**options, **facts, **({"power_mode": spec.power_mode} if spec.power_mode is not None else {})}


def _changes(then: Mapping[str, str], now: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    """List what is known on both sides and differs."""
    return tuple(
        f"{name} {then[name]} -> {now[name]}"
        for name in names
        if then.get(name) and now.get(name) and then[name] != now[name]
    )
