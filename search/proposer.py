"""Who proposes next: seeds first, then the guide and the sampler in turn."""

import math
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.predictors.accuracy import AdditivePrior, ChangeModel, KLPredictor
from nuwa_search.search.feasible import Limits
from nuwa_search.search.front import front_indices
from nuwa_search.search.proposals import Guide
from nuwa_search.search.seeds import AdditiveFront, Seed, fitting_points
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study import StudyLog
from nuwa_search.search.trials import Origin, StudyConfig, TrialReport, TrialState

NUM_PARENTS = 12
"""Best scored archs that local moves start from."""

NUM_SLICES = 8
"""Slices of latency that the guide visits in turn when the whole front is wanted."""

FRONT_POINTS = 400
"""Knapsack solutions of each additive front that the guide may fall back on."""


@dataclass(frozen=True)
class Proposal:
    """An arch to hold against the budget; ``ticket`` is the sampler's, None if it did not propose it."""

    arch: Arch
    origin: Origin
    ticket: int | None = None


class Proposer:
    """Proposes archs from what the log holds; the same log and seed give the same proposal."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: Limits,
        config: StudyConfig,
        log: StudyLog,
        prior: AdditivePrior,
        fronts: Sequence[AdditiveFront],
        seeds: Sequence[Seed],
        changes: ChangeModel | None = None,
    ) -> None:
        self._space = space
        self._budget = budget
        self._config = config
        self._log = log
        self._seeds = deque(seeds)
        self._accuracy = KLPredictor(prior, changes=changes)
        self._num_fitted = 0
        self._edges_ms: list[float] = []
        extra = [arch for front in fronts for arch in fitting_points(front, budget, at_most=FRONT_POINTS)[1]]
        self._guide = Guide(space, budget, extra=extra)

    def propose(self, *, taken: AbstractSet[Arch]) -> Proposal | None:
        """Return the next arch; None when the guide finds nothing new and the sampler is not asked.

        Args:
            taken: Archs being scored now.
        """
        known = self._known() | taken
        while self._seeds:
            seed = self._seeds.popleft()
            if seed.arch not in known:
                return Proposal(seed.arch, seed.origin)
        turn = len(self._log.trials) + len(taken)
        rng = np.random.default_rng([self._config.seed, turn])
        repaired = self._repaired(known, rng)
        if repaired is not None:
            return Proposal(repaired, "sampler")
        share = self._config.sampler_share
        if self._config.guided and math.floor((turn + 1) * share) == math.floor(turn * share):
            found = self._guided(known, turn, rng)
            if found is not None:
                return Proposal(found, "neighbour")
            if self._guide.is_whole:
                return None
        ticket, values = self._log.ask()
        return Proposal(self._space.arch_from_params(values), "sampler", ticket)

    def verdict(
        self, proposal: Proposal, excess: dict[str, float], *, taken: AbstractSet[Arch]
    ) -> tuple[TrialState, str]:
        """Return whether a proposal may be scored, and if not, why."""
        if not self._space.has_attention(proposal.arch):
            return "infeasible", f"fewer than {self._space.min_attn} attention branches are left"
        exceeded = [f"{name} exceeds its limit by {over:.3g}" for name, over in excess.items() if over > 0]
        if exceeded:
            return "infeasible", ", ".join(exceeded)
        for trial in self._log.trials:
            if trial.arch == proposal.arch and (trial.is_evaluation or trial.state == "failed"):
                return "duplicate", f"same arch as trial {trial.number}"
        if proposal.arch in taken:
            return "duplicate", "same arch as one being scored"
        return "scored", ""

    def _known(self) -> set[Arch]:
        return {trial.arch for trial in self._log.trials if trial.is_evaluation or trial.state == "failed"}

    def _repaired(self, known: AbstractSet[Arch], rng: np.random.Generator) -> Arch | None:
        """Cut the sampler's last proposal down to the budget, if it did not fit."""
        last = self._log.trials[-1] if self._log.trials else None
        if not self._config.repair or last is None or last.state != "infeasible" or last.origin != "sampler":
            return None
        cut = self._guide.cut_to_fit(last.arch, rng)
        return cut if cut is not None and cut not in known else None

    def _guided(self, known: set[Arch], turn: int, rng: np.random.Generator) -> Arch | None:
        rows = [t for t in self._log.trials if t.is_evaluation and t.kl is not None]
        if rows and len(rows) != self._num_fitted:
            self._accuracy.fit([t.arch for t in rows], [max(0.0, _kl(t)) for t in rows])
            self._num_fitted = len(rows)
        good = [t for t in rows if t.state == "scored"]
        inside = self._budget.fits([t.arch for t in good])
        good = sorted((t for t, fits in zip(good, inside, strict=True) if fits), key=_kl)
        band_ms = self._band(good, turn) if self._config.pareto else None
        if self._config.pareto:
            times = [t.predicted_latency_ms for t in good]
            good = [good[k] for k in front_indices(times, [_kl(t) for t in good])]
        parents = [t.arch for t in good[:NUM_PARENTS]] or [self._space.sample(rng)]
        return self._guide.propose(
            self._accuracy, parents=parents, known=known, turn=turn // 2, rng=rng, band_ms=band_ms
        )

    def _band(self, good: Sequence[TrialReport], turn: int) -> tuple[float, float] | None:
        """Slice of latency whose turn it is, between the fastest and the slowest scored."""
        uppers = [t.predicted_interval_ms[1] for t in good]
        if len(uppers) < 2 or min(uppers) == max(uppers):
            return None
        edges = np.linspace(min(uppers), max(uppers), NUM_SLICES + 1)
        k = turn % NUM_SLICES
        return (0.0 if k == 0 else float(edges[k])), float(edges[k + 1])


def _kl(trial: TrialReport) -> float:
    return float("inf") if trial.kl is None else trial.kl
