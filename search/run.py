"""Run a study: propose, hold against the budget, derive, score, learn, repeat."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.accuracy import AdditivePrior, flat_prior, prior_from_library
from nuwa_search.search.executor.executor import PendingScore, Scoring
from nuwa_search.search.explore import MOST_STARTS, Explorer
from nuwa_search.search.feasible import Limits, require_feasible
from nuwa_search.search.front import front_indices
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.proposer import Proposal, Proposer
from nuwa_search.search.scorer import Scorer, SubnetDeriver
from nuwa_search.search.seeds import AdditiveFront, Seed, fronts_of_limits, knapsack_seeds, make_seeds
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study import StudyLog
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import DevicePrediction, StopReason, StudyConfig, StudyHooks, StudyResult, TrialReport

HOPELESS_FACTOR = 2.0
HOPELESS_MARGIN = 0.02
"""A subnet is given up when its KL on the first images exceeds twice the best one's there by 0.02 nats."""
EXPLORE_SHARE = 0.5
"""Of a study's time limit, which exploring may take at most."""
MAX_FAILURES_IN_A_ROW = 10
SEED_ORIGINS = ("seed", "uniform", "random")
"""Origins of what a study is handed before it proposes anything itself."""


def run_study(
    space: SearchSpace,
    *,
    deriver: SubnetDeriver,
    scorer: Scorer,
    limits: Limits,
    config: StudyConfig,
    guidance: Guidance | None = None,
    place: StudyPlace | None = None,
    hooks: StudyHooks | None = None,
) -> StudyResult:
    """Search ``space`` for the arch of least KL to the teacher within the budget; goes on where a stored study stopped.

    Args:
        space: What may be proposed.
        deriver: Turns an arch into a subnet.
        scorer: Scores a subnet on the search split.
        limits: What a subnet must fit by prediction; without a latency budget only with ``config.pareto``.
        config: How long and how.
        guidance: What leads it; None for its trials alone.
        place: Where it is kept, and what it is about; None keeps it in memory.
        hooks: Who is told of each recorded proposal, and who may end it.

    Raises:
        BudgetTooSmallError: If not even the fastest arch fits.
        NuwaError: If the stored study is about something else, or every subnet fails.
        OutsideError: If the storage fails.
    """
    guidance, place, hooks = guidance or Guidance(), place or StudyPlace(), hooks or StudyHooks()
    library, seeds, explorer = guidance.library, guidance.seeds, guidance.explorer
    if limits.budget_ms is None and not config.pareto:
        raise NuwaError("a study needs a budget, or the whole front", hint="give --budget-ms, or --pareto")
    require_feasible(space, limits)
    prior = flat_prior(space.base) if library is None else prior_from_library(space.base, library.archs, library.kls)
    log = StudyLog(space, config=config, place=place)
    try:
        fronts = fronts_of_limits(space, prior=prior, limits=limits) if library is not None else []
        begun_s = time.monotonic()
        if seeds is None:
            made: list[Seed] = []
            if explorer is not None:
                made = _explored(explorer, fronts, prior=prior, limits=limits, config=config, hooks=hooks)
                if config.timeout_s is not None:  # the last net was begun in time
                    begun_s = max(begun_s, time.monotonic() - EXPLORE_SHARE * config.timeout_s)
            made = made or make_seeds(space, prior=prior, fronts=fronts, budget=limits, config=config)
            seeds = [*(Seed(arch, "seed", None) for arch in config.first), *made]
        changes = None if explorer is None else explorer.model
        proposer = Proposer(
            space, budget=limits, config=config, log=log, prior=prior, fronts=fronts, seeds=seeds, changes=changes
        )
        with place.executor.scoring(deriver, scorer, num_workers=config.num_workers) as scoring:
            loop = _Loop(limits, config, log, proposer, scoring, hooks.on_trial)
            stopped = loop.go(hooks.should_stop, begun_s)
        return summarise(place.study_name, log.trials, budget=limits, stopped=stopped, seconds=loop.seconds)
    finally:
        log.close()


def _explored(
    explorer: Explorer,
    fronts: Sequence[AdditiveFront],
    *,
    prior: AdditivePrior,
    limits: Limits,
    config: StudyConfig,
    hooks: StudyHooks,
) -> list[Seed]:
    """Explore from the exact seeds, for at most ``EXPLORE_SHARE`` of the study's time limit."""
    ends_s = math.inf if config.timeout_s is None else time.monotonic() + EXPLORE_SHARE * config.timeout_s
    exact = knapsack_seeds(fronts, prior=prior, budget=limits, num_seeds=MOST_STARTS)
    return explorer.seeds(
        budget=limits,
        fronts=fronts,
        prior=prior,
        should_stop=lambda: hooks.should_stop() or time.monotonic() >= ends_s,
        starts=[seed.arch for seed in exact],
    )


class _Loop:
    """Keeps a batch of subnets in flight; its decisions depend on the recorded trials, the batch and the seed only.

    Scores are recorded in the order in which their subnets were proposed, whichever was there first: what the next
    proposal knows then follows from its place, not from who was faster.
    """

    def __init__(
        self,
        budget: Limits,
        config: StudyConfig,
        log: StudyLog,
        proposer: Proposer,
        scoring: Scoring,
        on_trial: Callable[[TrialReport], None],
    ) -> None:
        self._budget = budget
        self._config = config
        self._log = log
        self._proposer = proposer
        self._scoring = scoring
        self._batch = config.batch or scoring.usual_batch
        self._on_trial = on_trial
        self._in_flight = deque[tuple[PendingScore, Proposal, TrialReport]]()
        self._idle = 0  # proposals since one was last sent to be scored
        self.seconds = 0.0

    def go(self, should_stop: Callable[[], bool], begun_s: float) -> StopReason:
        stopped: StopReason | None = None
        while stopped is None:
            self.seconds = time.monotonic() - begun_s
            stopped = self._reason_to_stop(should_stop)
            if stopped is not None:
                break
            if not self._is_full():
                self._feed()
            if self._is_dry() and not self._in_flight:
                stopped = "exhausted"
            if self._in_flight and self._is_full():
                self._collect()
        while self._in_flight:
            self._collect()
        self.seconds = time.monotonic() - begun_s
        return stopped

    def _reason_to_stop(self, should_stop: Callable[[], bool]) -> StopReason | None:
        if should_stop():
            return "asked"
        if self._config.timeout_s is not None and self.seconds >= self._config.timeout_s:
            return "time"
        if self._is_settled():
            return "settled"
        return "trials" if self._missing() <= 0 else None

    def _is_settled(self) -> bool:
        """Whether the study's own proposals, behind the seeds, have long not beaten the best."""
        patience = self._config.patience
        if patience is None or self._config.pareto:
            return False
        tried = [trial for trial in self._log.trials if trial.is_evaluation]
        best = min((t.kl for t in tried if t.state == "scored" and t.kl is not None), default=None)
        since = next((k for k, t in enumerate(reversed(tried)) if t.kl == best and t.state == "scored"), 0)
        own = sum(trial.origin not in SEED_ORIGINS for trial in tried[len(tried) - since :])
        return own >= patience

    def _missing(self) -> int:
        return self._config.trials - sum(trial.is_evaluation for trial in self._log.trials)

    def _is_full(self) -> bool:
        return len(self._in_flight) >= min(self._batch, self._missing()) or self._is_dry()

    def _is_dry(self) -> bool:
        return self._idle > self._config.max_proposals_per_trial

    def _feed(self) -> bool:
        """Make one proposal; False when the space seems to hold nothing new that fits."""
        if self._is_dry():
            return False
        proposal = self._proposer.propose(taken={p.arch for _, p, _ in self._in_flight})
        self._idle += 1
        if proposal is None:
            self._idle = self._config.max_proposals_per_trial + 1
            return False
        report, excess = self._predict(proposal)
        if report.state != "scored":
            self._record(report, excess, proposal)
            return True
        self._idle = 0
        pending = self._scoring.submit(proposal.arch, give_up_above=self._give_up_above())
        self._in_flight.append((pending, proposal, report))
        return True

    def _predict(self, proposal: Proposal) -> tuple[TrialReport, dict[str, float]]:
        """Check a proposal against the limits and the known trials; state ``scored`` means that it may be scored."""
        prediction, over = self._budget.predict([proposal.arch])
        excess = {name: float(values[0]) for name, values in over.items()}
        value, low, high = (float(x[0]) for x in (prediction.value, prediction.lower, prediction.upper))
        state, reason = self._proposer.verdict(proposal, excess, taken={p.arch for _, p, _ in self._in_flight})
        elsewhere = tuple(
            DevicePrediction(limit.device, float(there.value[0]), (float(there.lower[0]), float(there.upper[0])))
            for limit in self._budget.others
            for there in (limit.latency.predict([proposal.arch]),)
        )
        report = TrialReport(
            -1, proposal.arch, proposal.origin, state, value, (low, high), reason=reason, elsewhere=elsewhere
        )
        return report, excess

    def _collect(self) -> None:
        """Record the oldest subnet in flight, once its score is there."""
        pending, proposal, report = self._in_flight[0]
        found = pending.result()
        self._in_flight.popleft()
        score = found.score
        if score is None:
            report = dataclasses.replace(report, state="failed", reason=found.reason, seconds=found.seconds)
        else:
            report = dataclasses.replace(
                report,
                state="pruned" if score.is_partial else "scored",
                kl=score.kl,
                kl_first=score.kl_first,
                top1_search=score.top1,
                num_images=score.num_images,
                seconds=found.seconds,
                reason="hopeless after the first images" if score.is_partial else "",
            )
        excess = {name: float(over[0]) for name, over in self._budget.predict([proposal.arch])[1].items()}
        self._record(report, excess, proposal)
        tried = [trial for trial in self._log.trials if trial.is_evaluation or trial.state == "failed"]
        last = tried[-MAX_FAILURES_IN_A_ROW:]
        if len(last) == MAX_FAILURES_IN_A_ROW and all(trial.state == "failed" for trial in last):
            raise NuwaError(
                f"{MAX_FAILURES_IN_A_ROW} subnets in a row could not be scored, the last: {last[-1].reason}"
            )

    def _record(self, report: TrialReport, excess: dict[str, float], proposal: Proposal) -> None:
        self._on_trial(self._log.record(report, excess=excess, ticket=proposal.ticket))

    def _give_up_above(self) -> float | None:
        if not self._config.prune or self._config.pareto:
            return None
        firsts = [t.kl_first for t in self._log.trials if t.state == "scored" and t.kl_first is not None]
        if len(firsts) < self._config.scored_to_prune:
            return None
        return HOPELESS_FACTOR * min(firsts) + HOPELESS_MARGIN


def summarise(
    study_name: str, trials: Sequence[TrialReport], *, budget: Limits, stopped: StopReason, seconds: float
) -> StudyResult:
    """Find the best and the front among scored trials that fit by the predictor as it is now.

    Args:
        study_name: Name of the study.
        trials: All proposals of the study, scored or not.
        budget: Limits with the latency predictor as it is now.
        stopped: Why the study ended.
        seconds: Wall time of the study.
    """
    scored = [t for t in trials if t.state == "scored" and t.kl is not None]
    fits = budget.fits([t.arch for t in scored])
    fitting = [t for t, inside in zip(scored, fits, strict=True) if inside]
    kls = [t.kl for t in fitting if t.kl is not None]
    times = budget.latency.predict([t.arch for t in fitting]).value.tolist() if fitting else []
    front = tuple(fitting[k] for k in front_indices(times, kls))
    best = fitting[int(np.argmin(kls))] if fitting else None
    return StudyResult(study_name, tuple(trials), tuple(fitting), best, front, stopped, seconds)
