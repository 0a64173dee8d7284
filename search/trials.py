"""What a study is asked for, and what it reports, as values."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nuwa_search.core.arch import Arch

Origin = Literal["seed", "uniform", "random", "sampler", "neighbour"]
TrialState = Literal["scored", "pruned", "infeasible", "duplicate", "failed"]
StopReason = Literal["trials", "time", "asked", "exhausted", "settled"]

EVALUATED: tuple[TrialState, ...] = ("scored", "pruned")
"""States of proposals that images were spent on."""


@dataclass(frozen=True)
class StudyConfig:
    """How a study runs.

    Args:
        trials: Subnets to score, pruned ones included; infeasible proposals and duplicates cost nothing.
        timeout_s: Stop after so many seconds; None for no limit.
        sampler: Optuna's sampler by name; ``auto`` takes TPE for one objective and NSGA-II for the front.
        seed: With a stop by trials, the same seed and batch give the same trials wherever they are scored; in a batch
            of one also where the study was resumed.
        num_seeds: First trials made from the library: half exact, a quarter uniform, the rest random. None of them is
            made where an explorer finds nets that fit.
        pareto: Search the whole front of KL and latency; the budget, if any, still holds.
        num_workers: Processes that derive and score.
        batch: Subnets that are in flight at once: each is proposed knowing all scores but those of the last
            ``batch - 1`` before it. None for what keeps everything busy that scores.
        guided: Whether the accuracy predictor proposes local moves; off, the sampler is alone.
        sampler_share: Share of proposals after the seeds that the sampler makes in a guided study.
        repair: Whether a sampler's infeasible proposal is cut down to the budget and tried.
        prune: Whether hopeless subnets are given up after the first images.
        max_proposals_per_trial: Proposals per scored subnet after which the search space counts as exhausted.
        first: Archs that are tried before the seeds.
        patience: Stop once so many subnets in a row, after the seeds, were no better than the best; None never does.
        scored_to_prune: Scored subnets before any is given up: earlier there is no telling what is hopeless.
    """

    trials: int = 60
    timeout_s: float | None = None
    sampler: str = "auto"
    seed: int = 0
    num_seeds: int = 16
    pareto: bool = False
    num_workers: int = 1
    batch: int | None = None
    guided: bool = True
    sampler_share: float = 0.2
    repair: bool = True
    prune: bool = True
    max_proposals_per_trial: int = 50
    first: tuple[Arch, ...] = ()
    patience: int | None = None
    scored_to_prune: int = 8


@dataclass(frozen=True)
class DevicePrediction:
    """What a further device is predicted to take.

    Args:
        device: Its name.
        predicted_latency_ms: Point prediction.
        predicted_interval_ms: Lower and upper end; its budget is held against the upper one.
    """

    device: str
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]


@dataclass(frozen=True)
class TrialReport:
    """One proposal and what became of it.

    Args:
        number: Number of the Optuna trial.
        arch: Positional arch of the search space.
        origin: Who proposed it.
        state: ``scored`` and ``pruned`` were paid for; the others never reached an image.
        predicted_latency_ms: Point prediction.
        predicted_interval_ms: Lower and upper end; the budget is held against the upper one.
        kl: KL to the teacher in nats on the search split; of the first images only when pruned.
        kl_first: KL of the first images.
        top1_search: Fraction on the search split.
        num_images: Search images seen.
        seconds: Deriving and scoring.
        reason: Why it was not scored; empty otherwise.
        elsewhere: Predictions for further devices; none where one budget is asked for.
    """

    number: int
    arch: Arch
    origin: Origin
    state: TrialState
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    kl: float | None = None
    kl_first: float | None = None
    top1_search: float | None = None
    num_images: int = 0
    seconds: float = 0.0
    reason: str = ""
    elsewhere: tuple[DevicePrediction, ...] = ()

    @property
    def is_evaluation(self) -> bool:
        """Whether images were spent on it."""
        return self.state in EVALUATED

    def to_json(self) -> dict[str, Any]:
        """Render all but number and arch, which who keeps it has; ``elsewhere`` only with further devices."""
        values = dataclasses.asdict(self)
        for name in ("number", "arch", *(() if self.elsewhere else ("elsewhere",))):
            del values[name]
        return values


def _ignore(_: TrialReport) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class StudyHooks:
    """Who watches a study.

    Args:
        on_trial: Called after each recorded proposal.
        should_stop: Asked before each proposal.
    """

    on_trial: Callable[[TrialReport], None] = _ignore
    should_stop: Callable[[], bool] = _never


@dataclass(frozen=True)
class StoredTrial:
    """A finished trial as the study's storage holds it.

    Args:
        number: Of the Optuna trial.
        arch_id: Of the arch that was proposed.
        report: The other fields of its ``TrialReport``, as JSON.
        params: Values of the search space by name; they say which blocks are gone.
    """

    number: int
    arch_id: str
    report: dict[str, Any]
    params: Mapping[str, int]


@dataclass(frozen=True)
class StudyResult:
    """A study as it stands.

    Args:
        study_name: Its name in the storage.
        trials: All proposals, oldest first.
        fitting: Scored trials that fit by the predictor as it is now, oldest first.
        best: The one of least KL; None if none fits.
        front: Those that no other beats in both latency and KL, fastest first.
        stopped: Why it stopped.
        seconds: Spent in this run.
    """

    study_name: str
    trials: tuple[TrialReport, ...]
    fitting: tuple[TrialReport, ...]
    best: TrialReport | None
    front: tuple[TrialReport, ...]
    stopped: StopReason
    seconds: float

    @property
    def num_evaluations(self) -> int:
        return sum(trial.is_evaluation for trial in self.trials)

    @property
    def num_failed(self) -> int:
        return sum(trial.state == "failed" for trial in self.trials)

    @property
    def num_feasible(self) -> int:
        """Proposals within the budget by prediction."""
        return sum(trial.state != "infeasible" for trial in self.trials)

    @property
    def feasible_share(self) -> float:
        """Share of proposals within the budget; 0 without proposals."""
        return self.num_feasible / len(self.trials) if self.trials else 0.0
