"""Extension points: kinds of devices and runtimes that other packages bring, found by their entry points.

A package names what it brings in its ``pyproject.toml``::

    [project.entry-points."nuwa_search.devices"]
    counted = "my_package.counted"          # a DeviceKindExtension: a module or an object
    [project.entry-points."nuwa_search.runtimes"]
    onnx-reference = "my_package.runtime:ReferenceRuntime"   # a RuntimeExtension
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.core.errors import NuwaError

if TYPE_CHECKING:  # listing devices loads no numpy
    from importlib.metadata import EntryPoint

    from nuwa_search.core.runtime import Runtime

DEVICES = "nuwa_search.devices"
RUNTIMES = "nuwa_search.runtimes"


class DeviceKindExtension(Protocol):
    """A kind of device; the name of its entry point is the ``kind`` of its specs.

    Threads: both functions are called from one thread at a time. Ownership: who opens a device uses it as a context
    manager where it is one, and forgets it after. Guarantees: ``device_specs`` touches no device and loads nothing
    heavy, since `nuwa device ls` calls it; it answers the same while the program runs.
    """

    def device_specs(self) -> Sequence[DeviceSpec]:
        """List the devices of this kind that are there without being added."""
        ...

    def open_device(self, spec: DeviceSpec, *, seed: int) -> Device:
        """Open one of them.

        Args:
            spec: From ``device_specs``, or one of this kind that a user stored.
            seed: Of whatever is drawn.

        Raises:
            NuwaError: If what it needs is not installed.
            OutsideError: If it cannot be reached.
        """
        ...


class RuntimeExtension(Protocol):
    """Makes a runtime for this machine's CPU; the name of its entry point is its ``name``.

    A device of the same name is listed, which times models in it as the device ``host`` does in ONNX Runtime.
    """

    def __call__(self, *, threads: int) -> "Runtime":
        """Make the runtime; it loads its library when a model is loaded.

        Args:
            threads: Inside one operator.
        """
        ...


@cache
def extensions(group: str) -> "Mapping[str, EntryPoint]":
    """Find what installed packages bring, by name; nothing of them is imported.

    Raises:
        NuwaError: If two packages bring the same name.
    """
    from importlib.metadata import entry_points  # takes as long as all of this package that `--help` loads

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise NuwaError(
                f"two packages bring {entry.name!r} for {group}: {package_of(other)} and {package_of(entry)}",
                hint=f"pip uninstall {package_of(entry)}, or the other",
            )
    return found


def device_kind(name: str) -> DeviceKindExtension:
    """Import a kind of device.

    Raises:
        NuwaError: If it cannot be imported.
    """
    return cast(DeviceKindExtension, _loaded(extensions(DEVICES)[name]))


def runtime_maker(name: str) -> RuntimeExtension:
    """Import a runtime.

    Raises:
        NuwaError: If no package brings it, or it cannot be imported.
    """
    known = extensions(RUNTIMES)
    if name not in known:
        raise NuwaError(f"no installed package brings the runtime {name!r}", hint="install it again, or nuwa device ls")
    return cast(RuntimeExtension, _loaded(known[name]))


def package_of(entry: "EntryPoint") -> str:
    """Name the package that brings an extension."""
    return entry.dist.name if entry.dist is not None else "a package without a name"


def _loaded(entry: "EntryPoint") -> object:
    try:
        return entry.load()
    except Exception as error:  # whatever another package's import does
        raise NuwaError(
            f"{package_of(entry)} brings {entry.name!r}, and {entry.value} cannot be imported: {error}",
            hint=f"pip install --upgrade {package_of(entry)}",
        ) from error
