"""Train a base from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nuwa_search.core.home import expanded
from nuwa_search.lab.event import Callback
from nuwa_search.lab.keywords import TrainBaseKeywords
from nuwa_search.lab.values import plain_values
from nuwa_search.lab.watching import watched

if TYPE_CHECKING:
    from nuwa_search.deploy.train.base_from_data import BaseTrainAnswer


def train_base(
    data: str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    callback: Callback | None = None,
    **wishes: Unpack[TrainBaseKeywords],
) -> "BaseTrainAnswer":
    """Train or fine-tune a base on images and write it in timm's hub format.

    Args:
        data: Image folder, Parquet file or folder, or a data set on the Hub, with a training split.
        output: Folder of the base; checkpoints lie beside it until it is done.
        resume: Go on from the checkpoint there.
        callback: Told every scored step.
        wishes: ``timm_name``, ``model_args``, ``pretrained``, ``steps``, ``minutes``, …

    Raises:
        NuwaError: If the model is unknown or the data has no training split.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    from nuwa_search.deploy.train.base_config import BaseDesign
    from nuwa_search.deploy.train.base_from_data import BaseTrainRequest, train_base_from

    fields = plain_values(wishes)
    design = {name: fields.pop(name) for name in ("timm_name", "pretrained", "model_args") if name in fields}
    request = BaseTrainRequest(str(data), BaseDesign(**design), **fields)
    with watched(callback, go_on=f"nuwa_search.train_base({str(data)!r}, {str(output)!r}, resume=True, …)") as hooks:
        return train_base_from(request, folder=expanded(output), resume=resume, progress=hooks.finetune)
