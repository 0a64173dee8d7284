"""Hard limits: what is predicted to fit, and the fastest arch there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.budget import Limit
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.predictors.contract import Prediction, Predictor
from nuwa_search.search.space import SearchSpace

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MemoryLimit:
    """A hard limit beside latency: at most ``max_memory_mb`` by ``estimate_mb`` of each arch."""

    max_memory_mb: float
    estimate_mb: Callable[[Sequence[Arch]], Floats]


class Limits:
    """Holds archs against the latency budget, on the upper end of the interval, and against memory.

    Args:
        latency: Predicts milliseconds.
        budget_ms: At most this; None sets no limit (the whole front is wanted).
        memory: A second limit; None for none.
    """

    def __init__(self, latency: Predictor, budget_ms: float | None, *, memory: MemoryLimit | None = None) -> None:
        self.latency = latency
        self.budget_ms = budget_ms
        self.memory = memory

    def predict(self, archs: Sequence[Arch]) -> tuple[Prediction, dict[str, Floats]]:
        """Predict latencies and how far each limit is exceeded (positive is a violation), by name."""
        prediction = self.latency.predict(archs)
        excess = {}
        if self.budget_ms is not None:
            excess["latency_ms"] = prediction.upper - self.budget_ms
        if self.memory is not None:
            excess["memory_mb"] = self.memory.estimate_mb(archs) - self.memory.max_memory_mb
        return prediction, excess

    def fits(self, archs: Sequence[Arch]) -> npt.NDArray[np.bool_]:
        """Say for each arch whether it is within every limit."""
        inside = np.ones(len(archs), dtype=bool)
        if len(archs):
            for over in self.predict(archs)[1].values():
                inside &= over <= 0
        return inside


class BudgetTooSmallError(NoAnswerError):
    """Nothing in the space fits.

    Args:
        message: What was wanted and found.
        fastest: The fastest arch there is.
        predicted_latency_ms: Its latency.
        upper_ms: The upper end of its interval.
        limit: The limit that nothing keeps.
        hint: What mends it.
    """

    def __init__(
        self,
        message: str,
        *,
        fastest: Arch,
        predicted_latency_ms: float,
        upper_ms: float,
        limit: Limit = "latency",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.fastest = fastest
        self.predicted_latency_ms = predicted_latency_ms
        self.upper_ms = upper_ms
        self.limit = limit

    def told(self, message: str, *, hint: str) -> "BudgetTooSmallError":
        """Say the same in other words."""
        return BudgetTooSmallError(
            message,
            fastest=self.fastest,
            predicted_latency_ms=self.predicted_latency_ms,
            upper_ms=self.upper_ms,
            limit=self.limit,
            hint=hint,
        )


def fastest_arch(space: SearchSpace, latency: Predictor) -> Arch:
    """Find the arch with the lowest upper latency by descending one block at a time.

    The narrowest arch is not always the fastest (tiles may be filled for nothing), so every block is tried in all
    its shapes, from the narrowest archs with attention at each position, until nothing gets faster.
    """
    narrow = [min(block.specs, key=_width) for block in space.blocks]
    starts = []
    for i, block in enumerate(space.blocks):
        with_attn = [spec for spec in block.specs if spec.has_attn]
        if with_attn:
            starts.append([*narrow[:i], min(with_attn, key=_width), *narrow[i + 1 :]])
    starts = [blocks for blocks in starts if sum(b.has_attn for b in blocks) >= space.min_attn] or [
        [min([s for s in block.specs if s.has_attn] or block.specs, key=_width) for block in space.blocks]
    ]
    archs = [space.make(blocks, embed_dim=d) for blocks in starts for d in space.embed_dims]
    best = archs[int(np.argmin(latency.predict(archs).upper))]
    best_ms = float(latency.predict([best]).upper[0])
    while True:
        around = [arch for arch in _one_change(space, best) if space.contains(arch)]
        if not around:
            return best
        upper = latency.predict(around).upper
        k = int(np.argmin(upper))
        if upper[k] >= best_ms:
            return best
        best, best_ms = around[k], float(upper[k])


def require_feasible(space: SearchSpace, budget: Limits) -> Arch:
    """Return the fastest arch, or say that nothing fits, and by which limit.

    Raises:
        BudgetTooSmallError: If even the fastest arch exceeds the latency limit, or the smallest that of memory.
    """
    fastest = fastest_arch(space, budget.latency)
    prediction = budget.latency.predict([fastest])
    upper, value = float(prediction.upper[0]), float(prediction.value[0])
    if budget.budget_ms is not None and upper > budget.budget_ms:
        raise BudgetTooSmallError(
            f"no subnet fits {budget.budget_ms:g} ms: the fastest reachable is predicted at {value:.2f} ms "
            f"(up to {upper:.2f} ms)",
            fastest=fastest,
            predicted_latency_ms=value,
            upper_ms=upper,
            hint=f"give a budget of at least {np.ceil(upper * 10) / 10:g} ms, or another base",
        )
    if budget.memory is not None:
        least_mb = float(budget.memory.estimate_mb([smallest_arch(space)])[0])
        limit_mb = budget.memory.max_memory_mb
        if least_mb > limit_mb:
            raise BudgetTooSmallError(
                f"no subnet fits {limit_mb:g} MB: the smallest is estimated at {least_mb:.1f} MB of peak memory",
                fastest=fastest,
                predicted_latency_ms=value,
                upper_ms=upper,
                limit="memory",
                hint=f"give --max-memory-mb {np.ceil(least_mb):g} or more, or another base",
            )
    return fastest


def smallest_arch(space: SearchSpace) -> Arch:
    """Find the arch of fewest weights: every block at its smallest, with attention where that costs least."""
    embed_dim = min(space.embed_dims)

    def weights(spec: BlockSpec) -> int:
        return count_params(space.make([spec] * len(space.blocks), embed_dim=embed_dim))

    least = [min(block.specs, key=weights) for block in space.blocks]
    missing = space.min_attn - sum(spec.has_attn for spec in least)
    attending = {
        i: min(specs, key=weights)
        for i, block in enumerate(space.blocks)
        if not least[i].has_attn and (specs := [spec for spec in block.specs if spec.has_attn])
    }
    cheapest = sorted(attending, key=lambda i: weights(attending[i]) - weights(least[i]))[: max(0, missing)]
    blocks = [attending[i] if i in cheapest else spec for i, spec in enumerate(least)]
    return space.make(blocks, embed_dim=embed_dim)


def _width(spec: BlockSpec) -> tuple[int, int]:
    return (spec.num_heads * (2 * spec.qk_dim + spec.v_dim) + spec.mlp_width, spec.num_heads)


def _one_change(space: SearchSpace, arch: Arch) -> list[Arch]:
    """List archs with another ``embed_dim``, or one block in another shape."""
    around = [space.make(arch.blocks, embed_dim=d) for d in space.embed_dims if d != arch.embed_dim]
    for i, (now, choices) in enumerate(zip(arch.blocks, space.blocks, strict=True)):
        specs = [spec for spec in choices.specs if spec != now]
        around += [space.make([*arch.blocks[:i], s, *arch.blocks[i + 1 :]], embed_dim=arch.embed_dim) for s in specs]
    return around
