"""Find devices by name: built in, or added by the user and kept in the database."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.latency.devices.pool_spec import is_pool
from nuwa_search.latency.devices.registry import device_spec, open_device

if TYPE_CHECKING:
    from nuwa_search.core.transport import Reach
    from nuwa_search.latency.devices.pool import PoolDevice
    from nuwa_search.store.store import Store


def added_devices(store: "Store") -> dict[str, DeviceSpec]:
    """Return the devices that the user added, by name."""
    return {record.spec.name: record.spec for record in store.devices() if record.is_listed}


@contextmanager
def opened_device(
    spec: DeviceSpec,
    *,
    seed: int = 0,
    keeps_engines: bool = False,
    store: "Store | None" = None,
    reach: "Reach | None" = None,
) -> Iterator[Device]:
    """Open a device for the length of a block; a board is left as it was found, but for engines that it is to keep.

    Args:
        spec: The device.
        seed: Seed of an emulated device's noise and of random images.
        keeps_engines: Whether a board keeps what it builds until it is told to forget it.
        store: The database, which holds the leases of boards; a pool needs it, other devices do not.
        reach: Finds the way to a board; None goes there from here.
    """
    if store is not None and is_pool(spec):
        device: Device = open_pool(spec, store, seed=seed, keeps_engines=keeps_engines, reach=reach)
    else:
        device = open_device(spec, seed=seed, keeps_engines=keeps_engines, reach=reach)
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


def open_pool(
    spec: DeviceSpec,
    store: "Store",
    *,
    seed: int = 0,
    keeps_engines: bool = False,
    reach: "Reach | None" = None,
) -> "PoolDevice":
    """Open a pool of boards; no board is touched yet.

    Args:
        spec: Of the pool.
        store: The database that holds its boards.
        seed: Of their noise, where they are emulated.
        keeps_engines: Whether they keep what they build.
        reach: Finds the way to each; None goes there from here.
    """
    from nuwa_search.latency.devices.drift import reference_models
    from nuwa_search.latency.devices.engine_pool import EnginePool
    from nuwa_search.latency.devices.pool import PoolDevice
    from nuwa_search.latency.devices.pool_boards import PoolBoards

    def board_spec(name: str) -> DeviceSpec:
        # A search may ask for another precision than the pool was made with (``--precision``).
        return replace(find_device(name, store), precision=spec.precision, batch=spec.batch)

    references = reference_models(spec)
    boards = PoolBoards(
        spec.name,
        store,
        find=board_spec,
        open_board=lambda board: open_device(board, seed=seed, keeps_engines=keeps_engines, reach=reach),
        probe=references[0],
    )
    kind = EnginePool if spec.kind == "ssh" else PoolDevice
    return kind(spec, store, boards=boards, references=references)
