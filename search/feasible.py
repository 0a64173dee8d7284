"""Hard limits: what is predicted to fit, and the fastest arch there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.budget import Limit
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.predictors.contract import Prediction, Predictor
from nuwa_search.search.space import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MemoryLimit:
    """A hard limit beside latency: at most ``max_memory_mb`` by ``estimate_mb`` of each arch."""

    max_memory_mb: float
    estimate_mb: Callable[[Sequence[Arch]], Floats]


@dataclass(frozen=True)
class DeviceLimit:
    """The latency limit of one further device: one subnet is to keep it beside the first's.

    Args:
        device: Its name.
        latency: Predicts milliseconds there.
        budget_ms: Latency limit in milliseconds.
    """

    device: str
    latency: Predictor
    budget_ms: float


class Limits:
    """Holds archs against every device's latency budget, on the upper end of the interval, and against memory.

    Args:
        latency: Predicts milliseconds on the first device.
        budget_ms: At most this there; None sets no limit (the whole front is wanted).
        memory: A second limit; None for none.
        device: Name of the first device; needed only where there are others.
        others: Limits of further devices.

    Raises:
        NuwaError: If there are further devices, and no limit of the first.
    """

    def __init__(
        self,
        latency: Predictor,
        budget_ms: float | None,
        *,
        memory: MemoryLimit | None = None,
        device: str = "",
        others: Sequence[DeviceLimit] = (),
    ) -> None:
        if others and budget_ms is None:
            raise NuwaError("limits of several devices need one of the first too", hint="give --budget-ms N@DEVICE")
        self.latency = latency
        self.budget_ms = budget_ms
        self.memory = memory
        self.device = device
        self.others = tuple(others)

    @property
    def by_device(self) -> tuple[DeviceLimit, ...]:
        """The latency limit of each device, the first's first; none where the front is wanted."""
        if self.budget_ms is None:
            return ()
        return (DeviceLimit(self.device, self.latency, self.budget_ms), *self.others)

    def predict(self, archs: Sequence[Arch]) -> tuple[Prediction, dict[str, Floats]]:
        """Predict latencies on the first device, and how far each limit is exceeded (positive is a violation), by name.

        A further device's limit is called ``latency_ms@DEVICE``.
        """
        prediction = self.latency.predict(archs)
        excess = {}
        if self.budget_ms is not None:
            excess["latency_ms"] = prediction.upper - self.budget_ms
        for limit in self.others:
            excess[f"latency_ms@{limit.device}"] = limit.latency.predict(archs).upper - limit.budget_ms
        if self.memory is not None:
            excess["memory_mb"] = self.memory.estimate_mb(archs) - self.memory.max_memory_mb
        return prediction, excess

    def fits(self, archs: Sequence[Arch]) -> npt.NDArray[np.bool_]:
        """Return for each arch whether it is within every limit."""
        inside = np.ones(len(archs), dtype=bool)
        if len(archs):
            for over in self.predict(archs)[1].values():
                inside &= over <= 0
        return inside

    def upper_ms(self, archs: Sequence[Arch]) -> Floats:
        """Predict the upper latency of each arch on the device where it comes nearest to its limit.

        In milliseconds of the first device, scaled so that each limit is the first's: all latency limits are kept where
        this is at most ``budget_ms``.
        """
        upper = self.latency.predict(archs).upper
        for limit in self.others:
            scale = (self.budget_ms or 0.0) / limit.budget_ms
            upper = np.maximum(upper, scale * limit.latency.predict(archs).upper)
        return upper


@dataclass(frozen=True)
class Reached:
    """How far down one device's latency can be brought.

    Args:
        device: Its name; empty where there is one only.
        arch: The fastest there.
        predicted_latency_ms: Its latency.
        upper_ms: The upper end of its interval.
        budget_ms: The limit.
    """

    device: str
    arch: Arch
    predicted_latency_ms: float
    upper_ms: float
    budget_ms: float

    @property
    def is_enough(self) -> bool:
        """Whether the fastest keeps the limit."""
        return self.upper_ms <= self.budget_ms


class BudgetTooSmallError(NoAnswerError):
    """Nothing in the space fits.

    Args:
        message: What was wanted and found.
        fastest: The fastest arch there is, on the device that is the trouble.
        predicted_latency_ms: Its latency.
        upper_ms: The upper end of its interval.
        limit: The limit that nothing keeps.
        by_device: The fastest on each device, where there are several.
        nearest: Where each device's limit can be kept alone: what comes nearest to keeping all, on each device.
        hint: What the user can do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        fastest: Arch,
        predicted_latency_ms: float,
        upper_ms: float,
        limit: Limit = "latency",
        by_device: Sequence[Reached] = (),
        nearest: Sequence[Reached] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.fastest = fastest
        self.predicted_latency_ms = predicted_latency_ms
        self.upper_ms = upper_ms
        self.limit = limit
        self.by_device = tuple(by_device)
        self.nearest = tuple(nearest)

    def told(self, message: str, *, hint: str) -> "BudgetTooSmallError":
        """Return the same error with another message."""
        return BudgetTooSmallError(
            message,
            fastest=self.fastest,
            predicted_latency_ms=self.predicted_latency_ms,
            upper_ms=self.upper_ms,
            limit=self.limit,
            by_device=self.by_device,
            nearest=self.nearest,
            hint=hint,
        )


def fastest_arch(space: SearchSpace, latency: Predictor) -> Arch:
    """Find the arch with the lowest upper latency by descending one block at a time.

    The narrowest arch is not always the fastest (tiles may be filled for nothing), so every block is tried in all
    its shapes, from the narrowest archs with attention at each position, until nothing gets faster.
    """
    return _descended(space, lambda archs: latency.predict(archs).upper, _narrowest(space))


def nearest_arch(space: SearchSpace, limits: Limits, starts: Sequence[Arch] = ()) -> Arch:
    """Find the arch that comes nearest to keeping the latency limits of all devices, as ``fastest_arch`` does.

    Args:
        space: Where to look.
        limits: Of several devices.
        starts: Archs to descend from beside the narrowest.
    """
    return _descended(space, limits.upper_ms, [*_narrowest(space), *starts])


def _narrowest(space: SearchSpace) -> list[Arch]:
    narrow = [min(block.specs, key=_width) for block in space.blocks]
    starts = []
    for i, block in enumerate(space.blocks):
        with_attn = [spec for spec in block.specs if spec.has_attn]
        if with_attn:
            starts.append([*narrow[:i], min(with_attn, key=_width), *narrow[i + 1 :]])
    starts = [blocks for blocks in starts if sum(b.has_attn for b in blocks) >= space.min_attn] or [
        [min([s for s in block.specs if s.has_attn] or block.specs, key=_width) for block in space.blocks]
    ]
    return [
        space.make(blocks, embed_dim=d, img_size=size)
        for blocks in starts
        for d in space.embed_dims
        for size in space.sizes
    ]


def _descended(space: SearchSpace, upper_ms: Callable[[Sequence[Arch]], Floats], archs: Sequence[Arch]) -> Arch:
    best = archs[int(np.argmin(upper_ms(archs)))]
    best_ms = float(upper_ms([best])[0])
    while True:
        around = [arch for arch in _one_change(space, best) if space.contains(arch)]
        if not around:
            return best
        upper = upper_ms(around)
        k = int(np.argmin(upper))
        if upper[k] >= best_ms:
            return best
        best, best_ms = around[k], float(upper[k])


def require_feasible(space: SearchSpace, budget: Limits) -> Arch:
    """Return the fastest arch, or raise an error that names the limit and device by which nothing fits.

    Raises:
        BudgetTooSmallError: If even the fastest arch exceeds the latency limit, or the smallest that of memory.
    """
    fastest = fastest_arch(space, budget.latency)
    first = _reached(fastest, budget.latency, device=budget.device, budget_ms=budget.budget_ms or np.inf)
    if not first.is_enough and not budget.others:
        raise BudgetTooSmallError(
            f"no subnet fits {first.budget_ms:g} ms: the fastest reachable is predicted at "
            f"{first.predicted_latency_ms:.2f} ms (up to {first.upper_ms:.2f} ms)",
            fastest=fastest,
            predicted_latency_ms=first.predicted_latency_ms,
            upper_ms=first.upper_ms,
            hint=f"give a budget of at least {np.ceil(first.upper_ms * 10) / 10:g} ms, or another base",
        )
    if budget.others:
        fastest = _require_each_device(space, budget, first)
    if budget.memory is not None:
        least_mb = float(budget.memory.estimate_mb([smallest_arch(space)])[0])
        limit_mb = budget.memory.max_memory_mb
        if least_mb > limit_mb:
            raise BudgetTooSmallError(
                f"no subnet fits {limit_mb:g} MB: the smallest is estimated at {least_mb:.3g} MB of peak memory",
                fastest=first.arch,
                predicted_latency_ms=first.predicted_latency_ms,
                upper_ms=first.upper_ms,
                limit="memory",
                hint=f"give --max-memory-mb {np.ceil(least_mb):g} or more, or another base",
            )
    return fastest


def _require_each_device(space: SearchSpace, budget: Limits, first: Reached) -> Arch:
    """Return an arch that keeps the latency limits of all devices, or raise an error that names those it cannot."""
    reached = [first]
    for limit in budget.others:
        arch = fastest_arch(space, limit.latency)
        reached.append(_reached(arch, limit.latency, device=limit.device, budget_ms=limit.budget_ms))
    short = [one for one in reached if not one.is_enough]
    if short:
        told = "; ".join(
            f"no subnet fits {one.budget_ms:g} ms on {one.device}: the fastest reachable there is predicted at "
            f"{one.predicted_latency_ms:.2f} ms (up to {one.upper_ms:.2f} ms)"
            for one in short
        )
        raise _unreachable(told, short[0], reached)
    nearest = nearest_arch(space, budget, [one.arch for one in reached])
    if budget.upper_ms([nearest])[0] <= first.budget_ms:
        return nearest
    there = [
        _reached(nearest, limit.latency, device=limit.device, budget_ms=limit.budget_ms) for limit in budget.by_device
    ]
    told = " and ".join(f"{one.budget_ms:g} ms on {one.device}" for one in there)
    nearest_told = " and ".join(f"{one.predicted_latency_ms:.2f} ms (up to {one.upper_ms:.2f}) there" for one in there)
    worst = max(there, key=lambda one: one.upper_ms / one.budget_ms)
    raise _unreachable(
        f"each can be met alone, but no subnet was found that meets {told} together: the nearest is predicted at "
        f"{nearest_told}",
        worst,
        reached,
        nearest=there,
    )


def _reached(arch: Arch, latency: Predictor, *, device: str, budget_ms: float) -> Reached:
    found = latency.predict([arch])
    return Reached(device, arch, float(found.value[0]), float(found.upper[0]), float(budget_ms))


def _unreachable(
    message: str, worst: Reached, by_device: Sequence[Reached], *, nearest: Sequence[Reached] = ()
) -> BudgetTooSmallError:
    least = " ".join(
        f"--budget-ms {max(one.budget_ms, np.ceil(one.upper_ms * 10) / 10):g}@{one.device}"
        for one in nearest or by_device
    )
    return BudgetTooSmallError(
        message,
        fastest=worst.arch,
        predicted_latency_ms=worst.predicted_latency_ms,
        upper_ms=worst.upper_ms,
        by_device=by_device,
        nearest=nearest,
        hint=f"give at least {least}, or another base",
    )


def smallest_arch(space: SearchSpace) -> Arch:
    """Find the arch of fewest weights: every block at its smallest, with attention where that costs least."""
    embed_dim, img_size = min(space.embed_dims), space.sizes[0]

    def weights(spec: BlockSpec) -> int:
        return count_params(space.make([spec] * len(space.blocks), embed_dim=embed_dim, img_size=img_size))

    least = [min(block.specs, key=weights) for block in space.blocks]
    missing = space.min_attn - sum(spec.has_attn for spec in least)
    attending = {
        i: min(specs, key=weights)
        for i, block in enumerate(space.blocks)
        if not least[i].has_attn and (specs := [spec for spec in block.specs if spec.has_attn])
    }
    cheapest = sorted(attending, key=lambda i: weights(attending[i]) - weights(least[i]))[: max(0, missing)]
    blocks = [attending[i] if i in cheapest else spec for i, spec in enumerate(least)]
    return space.make(blocks, embed_dim=embed_dim, img_size=img_size)


def _width(spec: BlockSpec) -> tuple[int, int]:
    return (spec.num_heads * (2 * spec.qk_dim + spec.v_dim) + spec.mlp_width, spec.num_heads)


def _one_change(space: SearchSpace, arch: Arch) -> list[Arch]:
    """List archs with another ``embed_dim`` or image size, or one block in another shape."""
    around = [space.make(arch.blocks, embed_dim=d, img_size=arch.img_size) for d in space.embed_dims]
    around += [space.make(arch.blocks, embed_dim=arch.embed_dim, img_size=size) for size in space.sizes]
    around = [other for other in around if other != arch]
    for i, (now, choices) in enumerate(zip(arch.blocks, space.blocks, strict=True)):
        specs = [spec for spec in choices.specs if spec != now]
        around += [space.with_blocks(arch, [*arch.blocks[:i], s, *arch.blocks[i + 1 :]]) for s in specs]
    return around
