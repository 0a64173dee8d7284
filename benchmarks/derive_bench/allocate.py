"""Share out a MAC budget: which blocks and branches stay, how wide, how wide the stream.

An exact knapsack over single replacements gives the start, in several variants, of which really derived nets are
compared. Sums of single effects are not the effect of the sum, so a local search on derived nets follows. Latency
budgets are the study's; this needs no device, which is what a comparison at equal MACs wants.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.derive_bench.choices import BranchChoice, ChoiceLibrary, KlJudge
from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cost import block_macs, count_macs
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.rotation import narrow
from nuwa_search.search.knapsack import Group, solve

COST_POWERS = (1.0, 0.5)
"""KLs add if disturbances are independent, their roots if they are aligned; both are tried."""
SEARCH_STEPS = 60
"""Derived nets the local search scores: on the ViT-Ti base gains flatten out there."""


@dataclass(frozen=True)
class Point:
    """One choice per branch, by place in the library's rows, at one embedding width."""

    embed_dim: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Allocation:
    """The best arch found for a MAC budget, and its KL to the base on the judge's images in nats."""

    arch: Arch
    kl: float


def allocate(
    deriver: Deriver, library: ChoiceLibrary, judge: KlJudge, *, max_macs: int, steps: int = SEARCH_STEPS, seed: int = 0
) -> Allocation:
    """Find an arch of at most ``max_macs`` whose derived net stays close to the base.

    Args:
        deriver: Of the base and task.
        library: Its single replacements.
        judge: Scores derived nets; several hundred images, since it decides between close ones.
        max_macs: Budget, patch embedding and head included.
        steps: Nets the local search derives and scores.
        seed: Of the local search.

    Raises:
        NoAnswerError: If nothing is that small.
    """
    scored = {p: judge.kl(deriver.derive(arch_at(library, p))) for p in knapsack_points(library, max_macs)}
    best = min(scored, key=scored.__getitem__)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        point = _neighbour(library, best, max_macs, rng)
        if point is None or point in scored:
            continue
        scored[point] = judge.kl(deriver.derive(arch_at(library, point)))
        if scored[point] < scored[best]:
            best = point
    return Allocation(arch_at(library, best), scored[best])


def knapsack_points(library: ChoiceLibrary, max_macs: int) -> list[Point]:
    """Solve the additive model exactly for every embedding width and cost power.

    Raises:
        NoAnswerError: If no combination stays within ``max_macs``.
    """
    found: list[Point] = []
    for width in library.embed:
        shape = narrow(library.base, width)
        fixed = count_macs(dataclasses.replace(shape, blocks=()))
        for power in COST_POWERS:
            sums = solve([_group(row, shape, power) for row in library.branches])
            place = sums.best_within(max_macs - fixed)
            if place is not None:
                found.append(Point(width, tuple(int(k) for k in sums.choices[place])))
    if not found:
        raise NoAnswerError(f"no subnet has at most {max_macs} MACs")
    return list(dict.fromkeys(found))


def arch_at(library: ChoiceLibrary, point: Point) -> Arch:
    """Build the arch of ``point``."""
    specs = [row[k].spec for row, k in zip(library.branches, point.places, strict=True)]
    pairs = zip(specs[0::2], specs[1::2], strict=True)
    blocks = tuple(dataclasses.replace(attn, mlp_width=mlp.mlp_width) for attn, mlp in pairs)
    return dataclasses.replace(narrow(library.base, point.embed_dim), blocks=blocks)


def _group(row: Sequence[BranchChoice], shape: Arch, power: float) -> Group:
    macs = [_macs(choice.spec, shape) for choice in row]
    return Group(np.array(macs, dtype=np.float64), np.array([max(choice.kl, 0.0) ** power for choice in row]))


def _macs(spec: BlockSpec, shape: Arch) -> int:
    return block_macs(spec, embed_dim=shape.embed_dim, num_tokens=shape.num_tokens)


def _neighbour(library: ChoiceLibrary, point: Point, max_macs: int, rng: np.random.Generator) -> Point | None:
    """Widen one or two random branches by a step, then narrow others, cheapest in KL per MAC first, until it fits.

    The library's prices are blurred by a random factor, or the same branch would always pay. Now and then the
    stream's width changes by a step too.
    """
    places = list(point.places)
    widths = sorted(library.embed)
    width = point.embed_dim
    if len(widths) > 1 and rng.random() < 0.15:
        near = [w for w in widths if abs(widths.index(w) - widths.index(width)) == 1]
        width = int(near[rng.integers(len(near))])
    shape = narrow(library.base, width)
    grown = [k for k, place in enumerate(places) if place > 0]
    chosen = rng.permutation(grown)[: int(rng.integers(1, 3))] if grown else np.array([], dtype=np.int64)
    for k in chosen:
        places[int(k)] -= 1
    blur = rng.lognormal(0.0, 1.0, size=len(places))
    while count_macs(arch_at(library, Point(width, tuple(places)))) > max_macs:
        prices = [
            _price(library.branches[k], places[k], shape) * blur[k] if k not in chosen else np.inf
            for k in range(len(places))
        ]
        cheapest = int(np.argmin(prices))
        if not np.isfinite(prices[cheapest]):
            return None
        places[cheapest] += 1
    return Point(width, tuple(places))


def _price(row: Sequence[BranchChoice], place: int, shape: Arch) -> float:
    """KL per MAC of going one step narrower; infinite at the end of the row."""
    if place + 1 >= len(row):
        return float("inf")
    saved = _macs(row[place].spec, shape) - _macs(row[place + 1].spec, shape)
    return max(row[place + 1].kl - row[place].kl, 1e-6) / max(saved, 1)
