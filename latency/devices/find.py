"""Find devices by name: built in, or added by the user and kept in the database."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.latency.devices.registry import device_spec, open_device

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


def added_devices(store: "Store") -> dict[str, DeviceSpec]:
    """Return the devices that the user added, by name."""
    return {record.spec.name: record.spec for record in store.devices() if record.is_listed}


@contextmanager
def opened_device(spec: DeviceSpec, *, seed: int = 0, keeps_engines: bool = False) -> Iterator[Device]:
    """Open a device for the length of a block; a board is left as it was found, but for engines that it is to keep."""
    device = open_device(spec, seed=seed, keeps_engines=keeps_engines)
    with ExitStack() as stack:
        if isinstance(device, AbstractContextManager):
            stack.enter_context(device)
        yield device


def find_device(name: str, store: "Store") -> DeviceSpec:
    """Return the spec of a device.

    Raises:
        NuwaError: If no device has that name; the known ones are named.
    """
    return device_spec(name, extra=added_devices(store))
