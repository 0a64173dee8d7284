"""Distillation as the judge calls it: a subnet and a number of steps in, a tuned subnet out."""

from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.recipe import of_length
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.judge import Distilled, Tune


def make_tune(teacher: Teacher | None, tensors: TaskTensors, *, config: FinetuneConfig | None = None) -> Tune:
    """Bind teacher, images and recipe; steps, warm-up and evaluations follow the length asked for.

    Args:
        teacher: Shared by all runs; None trains on labels alone.
        tensors: Train and search splits of the task.
        config: Recipe of the full run; None for the defaults.
    """
    full = config or FinetuneConfig()

    def tune(student: PlainViT, steps: int) -> Distilled:
        result = finetune(student, tensors, teacher=teacher, config=of_length(full, steps))
        return Distilled(result.student, result.after.top1, result.after.loss, result.after)

    return tune
