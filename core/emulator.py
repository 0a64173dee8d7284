"""Which emulator stands behind an emulated device: part of its identity, and of its name once a newer one is there.

Latencies of two versions of the emulator are latencies of two devices. They never share a table, a predictor or a
front; those of an earlier version keep their ids and are shown under a name that says so.
"""

from dataclasses import replace

from nuwa_search.core.device import DeviceSpec

EMULATOR_VERSION = "2"
"""Version of the time model and its constants; a change of either that moves a latency counts it up, and comes with
a migration like ``v0005_emulators`` that renames the devices of the version before."""

FIRST_VERSION = "1"
"""What stands behind specs that name no version: it was not part of them then."""

OPTION = "emulator"
"""Name of the option that carries the version in a spec."""

_MARK = "@emulator-"


def emulator_version(spec: DeviceSpec) -> str | None:
    """Read the version behind an emulated device; None for any other."""
    return dict(spec.options).get(OPTION, FIRST_VERSION) if spec.kind == "emulated" else None


def is_outdated(spec: DeviceSpec) -> bool:
    """Return whether another version of the emulator than this program's stands behind a device."""
    return emulator_version(spec) not in (None, EMULATOR_VERSION)


def device_label(spec: DeviceSpec) -> str:
    """Name a device as people see it: with the version where it is another emulator's."""
    return f"{spec.name}{_MARK}{emulator_version(spec)}" if is_outdated(spec) else spec.name


def without_emulator(spec: DeviceSpec) -> DeviceSpec:
    """Leave the version out, where only what runs on the board matters: an engine is the same for all of them."""
    return replace(spec, options=tuple(option for option in spec.options if option[0] != OPTION))


def split_label(label: str) -> tuple[str, str | None]:
    """Split a label into the device's name and the version of another emulator, None where there is none."""
    name, mark, version = label.partition(_MARK)
    return (name, version) if mark else (label, None)
