"""Find devices by name: built in, or added by the user and kept in the database."""

from latency.devices.registry import device_spec

from nuwa.device import DeviceSpec
from nuwa.store.store import Store


def added_devices(store: Store) -> dict[str, DeviceSpec]:
    """Return the devices that the user added, by name."""
    return {record.spec.name: record.spec for record in store.devices() if record.is_listed}


def find_device(name: str, store: Store) -> DeviceSpec:
    """Return the spec of a device.

    Raises:
        NuwaError: If no device has that name; the known ones are named.
    """
    return device_spec(name, extra=added_devices(store))
