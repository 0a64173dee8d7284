"""What a run tells while it goes and when it is done."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from nuwa_search.deploy.train.score import SplitScore


@dataclass(frozen=True)
class ScoredWeights:
    """One candidate scored on the search split.

    Args:
        step: Optimiser steps done; 0 is the model as it came.
        weights: Whose they are: the model's, or their moving average.
        score: On the search split.
    """

    step: int
    weights: Literal["model", "average"]
    score: SplitScore


@dataclass(frozen=True)
class Rollback:
    """A divergence that was undone.

    Args:
        step: Where it was noticed.
        to_step: Where the run went on from.
        reason: What was noticed.
        lr_factor: Scale of the learning rate from then on.
    """

    step: int
    to_step: int
    reason: str
    lr_factor: float


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever shows it.

    Args:
        step: Optimiser steps done.
        steps: Of the whole run.
        losses: Mean of each part since the last report; ``loss`` is their sum.
        lr: Learning rate of the last step.
        best: Best evaluation so far.
        seconds: Since the start, earlier processes of a resumed run included.
        images_per_s: Since the last report.
        event: A rollback or stop, in words; empty otherwise.
    """

    step: int
    steps: int
    losses: dict[str, float]
    lr: float
    best: ScoredWeights
    seconds: float
    images_per_s: float
    event: str = ""


@dataclass(frozen=True)
class TrainOutcome:
    """A finished run.

    Args:
        tensors: Best weights by the search split, on the CPU in FP32.
        best: Their evaluation.
        history: All evaluations, the un-tuned model first.
        curve: Step by step, each part of the loss.
        rollbacks: Divergences that were undone.
        stopped: Why the run ended before its last step; empty if it did not.
        steps: Optimiser steps done.
        seconds: Wall time, earlier processes of a resumed run included.
        resumed_from: Step a checkpoint was taken up at; None for an unbroken run.
        precision: Of the forward passes.
        device: What it ran on.
    """

    tensors: dict[str, Tensor]
    best: ScoredWeights
    history: tuple[ScoredWeights, ...]
    curve: dict[str, list[float]]
    rollbacks: tuple[Rollback, ...]
    stopped: str
    steps: int
    seconds: float
    resumed_from: int | None
    precision: Literal["fp32", "bf16"]
    device: str
