"""Fine-tune a subnet on its task, with the base as teacher."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nuwa_search.core.accelerator import pick_device
from nuwa_search.core.allocator import keep_freed_memory
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.batches import plan_batches
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.distil_job import DistilJob, detached_copy
from nuwa_search.deploy.train.engine import TrainSetup, run_job
from nuwa_search.deploy.train.hardware import pick_precision
from nuwa_search.deploy.train.outcome import Progress, TrainOutcome
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.refit_head import with_refitted_head
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.deploy.train.teacher import Teacher


@dataclass(frozen=True)
class FinetuneResult:
    """A fine-tuned subnet and how it came about.

    Args:
        student: Best weights by the search split, on the CPU in FP32 and evaluation mode; the un-tuned
            ones if no others were better.
        before: Of the un-tuned student on the search split.
        after: Of the best weights on the search split.
        outcome: The run: history, loss curves, rollbacks, why it stopped, seconds.
        is_refitted: Whether it began with a head that was fitted anew.
    """

    student: PlainViT
    before: SplitScore
    after: SplitScore
    outcome: TrainOutcome
    is_refitted: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether better weights were found than the student came with."""
        return self.is_refitted or self.outcome.best.step > 0

    @property
    def seconds(self) -> float:
        """Wall time of the run, the teacher's included."""
        return self.outcome.seconds


def finetune(
    student: PlainViT,
    data: TaskTensors,
    *,
    teacher: Teacher | None,
    config: FinetuneConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> FinetuneResult:
    """Fine-tune ``student`` and return the best weights by the search split.

    The un-tuned student is a candidate, so the result is never worse than it on the search split. The
    student given and torch's random state are not changed. On one machine and thread count the same
    arguments give the same bits on the CPU, also when the run was killed and taken up again. Under
    torchrun every process calls this and gets the same result.

    Args:
        student: Of the task's classes.
        data: Its train split is trained on, its search split chooses the weights. Where its metric is ``balanced``,
            every class weighs alike in that choice and in the loss.
        teacher: Shared by all students of a task; None trains on labels alone.
        config: None for the defaults.
        progress: Called with where the run stands.
        checkpoint_dir: Where checkpoints go, at each evaluation and on Ctrl-C; None for none.
        resume: Go on from the checkpoint there; from the start where there is none.
        should_stop: Asked after steps; once it says yes in one process, all are interrupted behind the same step.

    Raises:
        NuwaError: If labels, teacher, checkpoint or settings do not fit the student.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    keep_freed_memory()
    settings = config or FinetuneConfig()
    _require_labels(student, data)
    if resume and checkpoint_dir is None:
        raise NuwaError("resuming needs the folder of the checkpoint", hint="give checkpoint_dir")
    processes = join_processes()
    device = pick_device(settings.accelerator, local_rank=processes.local_rank)
    setup = TrainSetup(
        plan=plan_batches(settings, num_images=len(data.train), processes=processes.count),
        device=device,
        precision=pick_precision(settings.precision, device),
        processes=processes,
        checkpoint_dir=checkpoint_dir,
        resume=resume,
        progress=progress,
        should_stop=should_stop,
    )
    start, before = student, None
    if settings.refit_head:
        start, before = with_refitted_head(student, data)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        job = DistilJob(detached_copy(start, device), teacher, data.to(device), settings, setup)
        job.prepare()
        outcome = run_job(job, settings, setup)
        tuned = PlainViT(student.arch)
    tuned.load_state_dict(outcome.tensors)
    is_refitted = start is not student
    return FinetuneResult(tuned.eval(), before or outcome.history[0].score, outcome.best.score, outcome, is_refitted)


def _require_labels(student: PlainViT, data: TaskTensors) -> None:
    for name, split in (("train", data.train), ("search", data.search)):
        if len(split) == 0:
            raise NuwaError(f"the {name} split holds no images")
        if int(split.labels.max()) >= student.arch.num_classes or int(split.labels.min()) < 0:
            raise NuwaError(
                f"labels of the {name} split reach {int(split.labels.max())}, "
                f"the student has {student.arch.num_classes} classes",
                hint="give it the head of the task",
            )
