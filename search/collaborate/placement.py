"""Place sub-models on devices: least time of the slowest device, within every device's memory.

A device that holds several sub-models runs them one after another. Small cases are solved exactly, larger ones by the
longest first, then single moves and exchanges (ED-ViT, arXiv 2410.11650, places greedily); how far that may be from
the best is stated against a lower bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.errors import NoAnswerError, NuwaError

MAX_EXACT = 100_000
"""Devices to the power of sub-models up to which every placement may be looked at: a second or so in Python."""
Places = tuple[int, ...]
"""Device of each sub-model."""


@dataclass(frozen=True)
class PlacementProblem:
    """What is to be placed where.

    Args:
        compute_ms: Of each sub-model (row) on each device (column).
        memory_mb: Of each sub-model on each device.
        room_mb: Memory that each device has; None for no limit.
        transfer_ms: Of one answer of each device, once for each sub-model it holds.
    """

    compute_ms: tuple[tuple[float, ...], ...]
    memory_mb: tuple[tuple[float, ...], ...]
    room_mb: tuple[float | None, ...]
    transfer_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        widths = {len(row) for row in (*self.compute_ms, *self.memory_mb)}
        if widths != {len(self.room_mb)} or len(self.transfer_ms) != len(self.room_mb):
            raise NuwaError("a placement needs a time and a memory of every sub-model on every device")
        if len(self.memory_mb) != len(self.compute_ms):
            raise NuwaError("a placement needs as many rows of memory as of times")

    @property
    def num_models(self) -> int:
        return len(self.compute_ms)

    @property
    def num_devices(self) -> int:
        return len(self.room_mb)

    def cost_ms(self, model: int, device: int) -> float:
        """Milliseconds that a sub-model adds to a device."""
        return self.compute_ms[model][device] + self.transfer_ms[device]

    def slowest_ms(self, places: Places) -> float:
        """Milliseconds of the device that is done last."""
        return max(self._loads(places))

    def is_within(self, places: Places) -> bool:
        """Whether no device holds more than it has room for."""
        for device, room in enumerate(self.room_mb):
            held = sum(self.memory_mb[m][device] for m, place in enumerate(places) if place == device)
            if room is not None and held > room:
                return False
        return True

    def _loads(self, places: Places) -> list[float]:
        loads = [0.0] * self.num_devices
        for model, device in enumerate(places):
            loads[device] += self.cost_ms(model, device)
        return loads


@dataclass(frozen=True)
class Placement:
    """Where each sub-model goes.

    Args:
        places: Device of each sub-model.
        slowest_ms: Of the device that is done last, transfer included.
        is_exact: Whether no placement is better.
        gap: Share that the best placement may be faster by, from a lower bound; 0 where it is exact.
    """

    places: Places
    slowest_ms: float
    is_exact: bool
    gap: float


def place_models(problem: PlacementProblem, *, max_exact: int = MAX_EXACT) -> Placement:
    """Place every sub-model.

    Args:
        problem: Times and memories.
        max_exact: Number of placements up to which all are looked at.

    Raises:
        NoAnswerError: If no placement stays within every device's memory, or, of a case too large to look at all, none
            was found.
    """
    for model in range(problem.num_models):
        if not any(_has_room(problem, model, d, 0.0) for d in range(problem.num_devices)):
            least = min(problem.memory_mb[model])
            most = max(room for room in problem.room_mb if room is not None)
            raise NoAnswerError(
                f"sub-model {model + 1} takes at least {least:.1f} MB, and no device has more than {most:.1f} MB",
                hint="give a larger --max-memory-mb, more devices, or a smaller base",
            )
    start = _greedy(problem)
    if problem.num_devices**problem.num_models <= max_exact:
        places = _exact(problem, start)
        if places is None:
            raise _nowhere(problem, "no placement of all of them stays within it")
        return Placement(places, problem.slowest_ms(places), is_exact=True, gap=0.0)
    if start is None:
        raise _nowhere(problem, "none was found that places all of them within it")
    places = _improved(problem, start)
    slowest_ms = problem.slowest_ms(places)
    return Placement(places, slowest_ms, is_exact=False, gap=max(0.0, 1 - lower_bound_ms(problem) / slowest_ms))


def lower_bound_ms(problem: PlacementProblem) -> float:
    """Milliseconds that no placement is below: the longest sub-model where it is fastest, or an even share of all."""
    least = [min(problem.cost_ms(m, d) for d in range(problem.num_devices)) for m in range(problem.num_models)]
    return max(max(least), sum(least) / problem.num_devices)


def _nowhere(problem: PlacementProblem, why: str) -> NoAnswerError:
    rooms = ", ".join("no limit" if room is None else f"{room:.1f} MB" for room in problem.room_mb)
    return NoAnswerError(
        f"{problem.num_models} sub-models do not fit the devices' memory ({rooms}): {why}",
        hint="give a larger --max-memory-mb, more devices, or fewer --sub-models",
    )


def _has_room(problem: PlacementProblem, model: int, device: int, held_mb: float) -> bool:
    room = problem.room_mb[device]
    return room is None or held_mb + problem.memory_mb[model][device] <= room


def _longest_first(problem: PlacementProblem) -> list[int]:
    return sorted(range(problem.num_models), key=lambda m: (-min(problem.compute_ms[m]), m))


def _greedy(problem: PlacementProblem) -> Places | None:
    """Give each sub-model, the longest or else the largest first, to the device that would be done first."""
    by_memory = sorted(range(problem.num_models), key=lambda m: (-min(problem.memory_mb[m]), m))
    for order in (_longest_first(problem), by_memory):
        places = [-1] * problem.num_models
        loads, held = [0.0] * problem.num_devices, [0.0] * problem.num_devices
        for model in order:
            free = [d for d in range(problem.num_devices) if _has_room(problem, model, d, held[d])]
            if not free:
                break
            device = min(free, key=lambda d: (loads[d] + problem.cost_ms(model, d), d))
            places[model] = device
            loads[device] += problem.cost_ms(model, device)
            held[device] += problem.memory_mb[model][device]
        else:
            return tuple(places)
    return None


def _improved(problem: PlacementProblem, places: Places) -> Places:
    """Move or exchange sub-models while the slowest device gets faster."""
    best, best_ms = places, problem.slowest_ms(places)
    while True:
        tried = [t for t in _neighbours(problem, best) if problem.is_within(t)]
        nearest = min(tried, key=problem.slowest_ms, default=best)
        if problem.slowest_ms(nearest) >= best_ms * (1 - 1e-12):
            return best
        best, best_ms = nearest, problem.slowest_ms(nearest)


def _neighbours(problem: PlacementProblem, places: Places) -> list[Places]:
    found: list[Places] = []
    for model in range(problem.num_models):
        others = [device for device in range(problem.num_devices) if device != places[model]]
        found += [(*places[:model], device, *places[model + 1 :]) for device in others]
        for other in range(model):
            if places[other] != places[model]:
                swapped = list(places)
                swapped[model], swapped[other] = places[other], places[model]
                found.append(tuple(swapped))
    return found


def _exact(problem: PlacementProblem, start: Places | None) -> Places | None:
    """Try every placement, leaving out those over a limit or no faster than the best so far."""
    order: Sequence[int] = _longest_first(problem)
    best, best_ms = start, float("inf") if start is None else problem.slowest_ms(start)
    places = [-1] * problem.num_models
    loads, held = [0.0] * problem.num_devices, [0.0] * problem.num_devices

    def descend(depth: int) -> None:
        nonlocal best, best_ms
        if depth == len(order):
            best, best_ms = tuple(places), max(loads)
            return
        model = order[depth]
        for device in range(problem.num_devices):
            cost_ms, size_mb = problem.cost_ms(model, device), problem.memory_mb[model][device]
            if loads[device] + cost_ms >= best_ms or not _has_room(problem, model, device, held[device]):
                continue
            before = loads[device], held[device]
            places[model] = device
            loads[device] += cost_ms
            held[device] += size_mb
            descend(depth + 1)
            loads[device], held[device] = before

    descend(0)
    return best
