"""The training loop: steps, evaluations, checkpoints, rollbacks. What is trained is the job's business."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.interrupts import interrupt_deferred
from nuwa_search.deploy.train.batches import BatchPlan
from nuwa_search.deploy.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nuwa_search.deploy.train.hardware import autocast
from nuwa_search.deploy.train.outcome import Progress, Rollback, ScoredWeights, TrainOutcome
from nuwa_search.deploy.train.processes import Processes
from nuwa_search.deploy.train.recipe import Recipe, hash_recipe
from nuwa_search.deploy.train.run_state import RunState
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.deploy.train.seeds import generator_for
from nuwa_search.deploy.train.watch import loss_problem, score_problem

MAX_ROLLBACKS = 3
"""Divergences after which a run gives up and keeps its best weights."""
ROLLBACK_LR_FACTOR = 0.3
"""On the learning rate at each rollback: three of them reach a fortieth."""
CUDA_READ_EVERY = 10
"""Steps between reading losses back from a GPU, which waits for it; on the CPU they are read at once."""


class Job(Protocol):
    """What the loop asks of a kind of training.

    Args:
        model: Whose weights are trained, averaged and kept.
        module: What a step calls; holds ``model``.
        chance_loss: Loss of a net that guesses.
        identity: Hash of all the run depends on besides the recipe.
    """

    model: nn.Module
    module: nn.Module
    chance_loss: float
    identity: str

    def batch_loss(self, net: nn.Module, *, step: int, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the parts of the loss of the images at ``indices``, by name; their sum is minimised.

        Args:
            net: What a step calls: the model that is trained, compiled or wrapped in DDP where the run is.
            step: Number of the step, from 0.
            indices: (B,) int64 places of the images in the training split, on its device.
            epoch: Number of the pass over the data, from 0.
        """

    def score(self, model: nn.Module) -> SplitScore:
        """Score weights on the search split."""


@dataclasses.dataclass(frozen=True)
class TrainSetup:
    """Where and how a job runs.

    Args:
        plan: Batches.
        device: The accelerator.
        precision: Of the forward pass.
        processes: Of the run.
        checkpoint_dir: Where checkpoints go; None for none.
        resume: Whether to go on from the checkpoint there.
        progress: Called in the first process after each reading of the loss.
        deadline_s: Seconds of wall time after which the run stops; None for no limit.
        should_stop: Asked after steps; where one process says yes, all are interrupted behind the same step. None is
            never asked.
    """

    plan: BatchPlan
    device: torch.device
    precision: Literal["fp32", "bf16"]
    processes: Processes
    checkpoint_dir: Path | None = None
    resume: bool = False
    progress: Callable[[Progress], None] | None = None
    deadline_s: float | None = None
    should_stop: Callable[[], bool] | None = None


def run_job(job: Job, recipe: Recipe, setup: TrainSetup) -> TrainOutcome:
    """Train until the last step, the deadline, or too many divergences.

    It seeds torch's global random state; callers fork it.

    Raises:
        NuwaError: If the model is not finite to begin with, or a checkpoint belongs to another run.
        KeyboardInterrupt: On Ctrl-C, after the state was saved.
    """
    return _Loop(job, recipe, setup).run()


class _Loop:
    def __init__(self, job: Job, recipe: Recipe, setup: TrainSetup) -> None:
        self.job, self.recipe, self.setup = job, recipe, setup
        self.state = RunState(job.model, recipe)
        wrapped = setup.processes.wrap(job.module, setup.device)
        self.replicas = wrapped if isinstance(wrapped, DistributedDataParallel) else None
        self.net: nn.Module = wrapped
        if recipe.compile:
            self.net = cast(nn.Module, torch.compile(wrapped))
        self.identity = f"{hash_recipe(recipe)}:{job.identity}:{setup.precision}:{setup.device.type}"
        self.good: Checkpoint
        self.resumed_from: int | None = None
        self.unread: list[dict[str, Tensor]] = []
        self.stopped = ""
        self.clock = time.perf_counter()
        self.lr = 0.0

    def run(self) -> TrainOutcome:
        self._begin()
        try:
            while not self.stopped:
                if self._is_evaluation_due():
                    self._evaluate()
                elif self.state.step >= self.recipe.steps:
                    break
                else:
                    self._step()
                    self._look()
        except KeyboardInterrupt:
            self._read()
            self._tick()
            self._save(self.state.capture())
            raise
        self._finish()
        state = self.state
        return TrainOutcome(
            tensors={k: v.detach().float().cpu() for k, v in state.best_tensors.items()},
            best=state.best,
            history=tuple(state.history),
            curve=state.curve,
            rollbacks=tuple(state.rollbacks),
            stopped=self.stopped,
            steps=state.step,
            seconds=state.seconds,
            resumed_from=self.resumed_from,
            precision=self.setup.precision,
            device=str(self.setup.device),
        )

    def _begin(self) -> None:
        found = None
        if self.setup.resume and self.setup.checkpoint_dir is not None:
            found = load_checkpoint(self.setup.checkpoint_dir)
        if found is not None:
            if found.values.get("identity") != self.identity:
                raise NuwaError(
                    f"the checkpoint in {self.setup.checkpoint_dir} is of another run "
                    "(student, teacher, images, settings or precision differ)",
                    hint="give the settings it was started with, or start anew without resuming",
                )
            self.state.restore(found)
            self.resumed_from = self.state.step
            self.good = self.state.capture()
            return
        score = self.job.score(self.job.model)
        problem = score_problem(score, best=None)
        if problem:
            raise NuwaError(f"the model cannot be trained: its {problem}", hint="check its weights")
        self.state.record(ScoredWeights(0, "model", score), self.job.model)
        self.good = self.state.capture()

    def _step(self) -> None:
        state, plan, crew = self.state, self.setup.plan, self.setup.processes
        self.lr = state.set_lr()
        state.optimiser.zero_grad(set_to_none=True)
        self.net.train()
        parts: dict[str, Tensor] = {}
        for part in range(plan.parts):
            seed = generator_for(self.recipe.seed, "layers", state.step, part, crew.rank).initial_seed()
            torch.manual_seed(seed)  # of layers that draw, such as drop path; resuming then needs no state
            indices = plan.indices(state.step, part=part, rank=crew.rank).to(self.setup.device)
            is_last = part == plan.parts - 1
            with nullcontext() if is_last or self.replicas is None else self.replicas.no_sync():
                with autocast(self.setup.device, self.setup.precision):
                    losses = self.job.batch_loss(
                        self.net, step=state.step, indices=indices, epoch=plan.epoch_of(state.step)
                    )
                total = torch.stack(list(losses.values())).sum() / plan.parts
                torch.autograd.backward(total)
            for name, value in {**losses, "loss": total * plan.parts}.items():
                parts[name] = parts.get(name, 0.0) + value.detach() / plan.parts
        norm = nn.utils.clip_grad_norm_(self.job.module.parameters(), self.recipe.clip_norm)
        # a gradient that is not finite makes the loss of record so: one number tells both
        parts["loss"] = torch.where(torch.isfinite(norm), parts["loss"], norm)
        with interrupt_deferred():
            state.apply_gradients()
            self.unread.append(parts)

    def _is_evaluation_due(self) -> bool:
        step = self.state.step
        is_stop = step % self.recipe.eval_every == 0 or step == self.recipe.steps
        return is_stop and self.state.history[-1].step < step

    def _look(self) -> None:
        is_gpu = self.setup.device.type == "cuda"
        if is_gpu and not self._is_evaluation_due() and len(self.unread) < CUDA_READ_EVERY:
            return
        steps, elapsed, means = len(self.unread), self._tick(), self._read()
        problem = loss_problem(self.state.curve["loss"], scale=self.job.chance_loss)
        if problem is not None:
            self._roll_back(problem)
        elif self._is_late():
            self.stopped = f"time limit of {self.setup.deadline_s:g} s reached at step {self.state.step}"
        self._report(means, speed=steps * self.setup.plan.batch_size / max(elapsed, 1e-9), problem=problem)
        if self.setup.should_stop is not None and self._is_agreed(self.setup.should_stop()):
            raise KeyboardInterrupt

    def _read(self) -> dict[str, float]:
        with interrupt_deferred():
            if not self.unread:
                return {}
            names = list(self.unread[0])
            values = torch.stack([torch.stack([p[n].float() for n in names]) for p in self.unread])
            values = self.setup.processes.mean(values).cpu().double()
            self.unread.clear()
            for name, column in zip(names, values.T.tolist(), strict=True):
                self.state.curve.setdefault(name, []).extend(column)
        return dict(zip(names, values.mean(dim=0).tolist(), strict=True))

    def _evaluate(self) -> None:
        state = self.state
        scored = [
            (dataclasses.replace(candidate, score=self.job.score(model)), model)
            for candidate, model in state.candidates()
        ]
        problems = [score_problem(e.score, best=state.best.score) for e, _ in scored]
        problem = next((p for p in problems if p is not None), None)
        if problem is not None:
            self._roll_back(problem)
        else:
            with interrupt_deferred():
                for evaluation, model in scored:
                    state.record(evaluation, model)
            self._tick()
            self.good = state.capture()
            self._save(self.good)
        self._report({}, speed=0.0, problem=problem)

    def _roll_back(self, reason: str) -> None:
        state, seconds = self.state, self.state.seconds
        factor = state.lr_factor * ROLLBACK_LR_FACTOR
        made = [*state.rollbacks, Rollback(state.step, self.good.values["step"], reason, factor)]
        with interrupt_deferred():
            state.restore(self.good)
            state.lr_factor, state.rollbacks, state.seconds = factor, made, seconds
        if len(made) > MAX_ROLLBACKS:
            self.stopped = f"gave up after {MAX_ROLLBACKS} rollbacks: {reason}"

    def _finish(self) -> None:
        self._tick()
        if self.setup.checkpoint_dir is not None and self.good.values["step"] != self.state.step:
            self._save(self.state.capture())
        self.setup.processes.barrier()

    def _tick(self) -> float:
        now = time.perf_counter()
        elapsed, self.clock = now - self.clock, now
        self.state.seconds += elapsed
        return elapsed

    def _is_late(self) -> bool:
        if self.setup.deadline_s is None:
            return False
        return self._is_agreed(self.state.seconds > self.setup.deadline_s)

    def _is_agreed(self, answer: bool) -> bool:
        """Whether any process says yes: all get the same answer."""
        said = torch.tensor(float(answer), device=self.setup.device)
        return bool(self.setup.processes.sum(said) > 0)

    def _save(self, checkpoint: Checkpoint) -> None:
        if self.setup.checkpoint_dir is not None and self.setup.processes.is_first:
            values = {**checkpoint.values, "identity": self.identity}
            save_checkpoint(self.setup.checkpoint_dir, Checkpoint(checkpoint.tensors, values))

    def _report(self, means: dict[str, float], *, speed: float, problem: str | None) -> None:
        if self.setup.progress is None or not self.setup.processes.is_first:
            return
        state, event = self.state, self.stopped or (f"rolled back: {problem}" if problem else "")
        self.setup.progress(
            Progress(state.step, self.recipe.steps, means, self.lr, state.best, state.seconds, speed, event)
        )
