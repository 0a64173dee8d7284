"""What a task asks of a net: a class for each image, or a class for each pixel. No torch is loaded."""

from typing import Literal, get_args

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric

TaskKind = Literal["classification", "segmentation"]
TaskChoice = Literal["auto", "classification", "segmentation"]
TASK_CHOICES: tuple[TaskChoice, ...] = get_args(TaskChoice)
"""As people ask for one; ``auto`` goes by the layout of the data."""


def kind_of(metric: Metric) -> TaskKind:
    """Return which kind of task a metric is of: each belongs to one."""
    return "segmentation" if metric == "miou" else "classification"


def metric_for(kind: TaskKind, asked: Metric) -> Metric:
    """Return the metric of a task: the one asked for, or mIoU, the only one of segmentation.

    Raises:
        NuwaError: If balanced accuracy was asked for of pixels: mIoU lets every class weigh alike already.
    """
    if kind == "classification":
        return asked
    if asked == "balanced":
        raise NuwaError(
            "--metric balanced is for classes of whole images, and the images have masks: mIoU counts there, in which "
            "every class weighs alike",
            hint="leave --metric out",
        )
    return "miou"
