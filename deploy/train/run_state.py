"""Everything that changes while a run goes, as one value that can be saved, put back and gone on from."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from timm.utils import ModelEmaV3
from torch import Tensor, nn

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.train.checkpoint import Checkpoint
from nuwa_search.deploy.train.optimiser import make_optimiser, make_schedule, set_lr
from nuwa_search.deploy.train.outcome import Rollback, ScoredWeights
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.score import SplitScore


class RunState:
    """Model, average, optimiser and record of one run.

    Args:
        model: Whose weights are trained.
        recipe: Of the run.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = model
        self.recipe = recipe
        self.optimiser = make_optimiser(model, recipe)
        self.schedule = make_schedule(self.optimiser, recipe)
        self.average = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.best_tensors = _copied(model.state_dict())
        self.step = 0
        self.lr_factor = 1.0
        self.seconds = 0.0
        self.history: list[ScoredWeights] = []
        self.curve: dict[str, list[float]] = {}
        self.rollbacks: list[Rollback] = []

    @property
    def best(self) -> ScoredWeights:
        """Best evaluation so far; the earliest among equals."""
        best = self.history[0]
        for candidate in self.history[1:]:
            best = candidate if candidate.score.beats(best.score) else best
        return best

    def candidates(self) -> list[tuple[ScoredWeights, nn.Module]]:
        """Return what is worth an evaluation now, still to be scored: the average, and at the end the model too."""
        unscored = SplitScore(0.0, None, 0.0)
        out: list[tuple[ScoredWeights, nn.Module]] = []
        if self.average is not None:
            out.append((ScoredWeights(self.step, "average", unscored), self.average.module))
        if self.average is None or self.step >= self.recipe.steps:
            out.append((ScoredWeights(self.step, "model", unscored), self.model))
        return out

    def record(self, evaluation: ScoredWeights, model: nn.Module) -> None:
        """Add a scored candidate; keep its weights if it is the best."""
        self.history.append(evaluation)
        if self.best is evaluation:
            self.best_tensors = _copied(model.state_dict())

    def set_lr(self) -> float:
        """Set the learning rate of the coming step."""
        return set_lr(self.optimiser, self.schedule, step=self.step, factor=self.lr_factor)

    def apply_gradients(self) -> None:
        """Take one optimiser step and follow it with the average."""
        self.optimiser.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.model, step=self.step)

    def capture(self) -> Checkpoint:
        """Copy the whole state."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best_tensors.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        for index, values in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in values.items()}
        record = {
            "step": self.step,
            "lr_factor": self.lr_factor,
            "seconds": self.seconds,
            "history": [dataclasses.asdict(e) for e in self.history],
            "curve": {k: list(v) for k, v in self.curve.items()},
            "rollbacks": [dataclasses.asdict(r) for r in self.rollbacks],
        }
        return Checkpoint(_copied(tensors), record)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a captured state.

        Raises:
            NuwaError: If it is of another model, or its record is damaged.
        """
        told = {f.name: checkpoint.values[f.name] for f in dataclasses.fields(_Record) if f.name in checkpoint.values}
        record = record_from_dict(_Record, told, where="checkpoint")
        try:
            self._restore_tensors(checkpoint)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NuwaError(
                f"the checkpoint is of another run: {said[:300]}", hint="remove its folder to start the run again"
            ) from error
        self.step, self.lr_factor, self.seconds = record.step, record.lr_factor, record.seconds
        self.history = list(record.history)
        self.curve = {name: list(values) for name, values in record.curve.items()}
        self.rollbacks = list(record.rollbacks)

    def _restore_tensors(self, checkpoint: Checkpoint) -> None:
        device = next(self.model.parameters()).device
        self.model.load_state_dict(_under("model.", checkpoint.tensors))
        self.best_tensors = {k: v.to(device, copy=True) for k, v in _under("best.", checkpoint.tensors).items()}
        if self.average is not None:
            self.average.module.load_state_dict(_under("average.", checkpoint.tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimiser.", checkpoint.tensors).items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value.clone()
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


@dataclass(frozen=True)
class _Record:
    """What a checkpoint says besides tensors, as it lies in its file."""

    step: int
    lr_factor: float
    seconds: float
    history: tuple[ScoredWeights, ...]
    curve: Mapping[str, tuple[float, ...]]
    rollbacks: tuple[Rollback, ...]


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
