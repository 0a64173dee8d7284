"""What a pool of boards is registered as: one device, of the kind of its boards."""

import dataclasses
from collections.abc import Sequence

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError

POOL = "pool"
"""Option in the spec of a pool; part of its identity, so that its figures are never taken for those of one board."""
_OF_ONE_BOARD = ("ssh", "trtexec")
_SHARED = ("kind", "runtime", "runtime_version", "precision", "batch", "power_mode", "compute_capability")


def is_pool(spec: DeviceSpec) -> bool:
    """Whether a device is a pool of boards."""
    return any(name == POOL for name, _ in spec.options)


def one_board_of(spec: DeviceSpec) -> DeviceSpec:
    """Return the spec of an emulated board like those of a pool, for what the emulator computes; others as they are."""
    return dataclasses.replace(spec, options=tuple(option for option in spec.options if option[0] != POOL))


def pool_spec(name: str, boards: Sequence[DeviceSpec]) -> DeviceSpec:
    """Make the spec of a pool; which boards are in it is no part of it, since they come and go.

    Args:
        name: Of the pool.
        boards: Of one kind, at least one.

    Raises:
        NuwaError: If there is none, one is named twice or is a pool itself, or two are not of a kind.
    """
    if not boards:
        raise NuwaError(f"the pool {name} needs a board", hint="name each with --board")
    names = [board.name for board in boards]
    if len(set(names)) < len(names):
        raise NuwaError(f"a board is named twice for the pool {name}: {', '.join(names)}")
    first = boards[0]
    for board in boards:
        if is_pool(board):
            raise NuwaError(f"{board.name} is a pool itself", hint="name its boards: nuwa device show " + board.name)
        other = [field for field in _SHARED if getattr(board, field) != getattr(first, field)]
        if other:
            said = "; ".join(f"{field} {getattr(first, field)} and {getattr(board, field)}" for field in other)
            raise NuwaError(
                f"{first.name} and {board.name} are not of a kind: {said}",
                hint="boards of one pool have the same runtime, precision, batch and power mode; make two pools",
            )
    memory = [board.memory_mb for board in boards if board.memory_mb is not None]
    options = tuple(option for option in first.options if option[0] not in _OF_ONE_BOARD)
    return dataclasses.replace(
        first,
        name=name,
        opset=min(board.opset for board in boards),
        memory_mb=min(memory, default=None),
        options=(*options, (POOL, name)),
        note="a pool of boards: nuwa device show " + name,
    )
