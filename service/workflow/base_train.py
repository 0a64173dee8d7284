"""Train a base on a data set."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm

from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, Preprocess
from nuwa_search.core.suggest import unknown_name
from nuwa_search.deploy.train.base_config import BaseDesign, BaseTrainConfig
from nuwa_search.deploy.train.base_train import train_base
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.recipe import of_length


def train_base_from(
    data: str,
    *,
    label_column: str | None,
    timm_name: str,
    model_args: Mapping[str, Any],
    pretrained: bool,
    steps: int | None,
    batch_size: int | None,
    minutes: float | None,
    seed: int,
    folder: Path,
    resume: bool,
    progress: Callable[[Progress], None],
) -> dict[str, Any]:
    """Train on the train split of ``data`` and write the base; checkpoints lie beside it until it is done.

    Raises:
        NuwaError: If the model is unknown or the data has no training split.
    """
    if not timm.is_model(timm_name):
        raise unknown_name("model", timm_name, timm.list_models("*vit*"))
    found = load_dataset(data, label_column=label_column)
    splits = found.splits
    images = splits.get("train") or splits.get(WHOLE)
    if images is None:
        raise NuwaError(
            f"{data} has only the splits {', '.join(splits)}, wanted train", hint="name data with a train split"
        )
    size = model_args.get("img_size")
    if size is None:
        size = timm.create_model(timm_name, pretrained=False).pretrained_cfg["input_size"][-1]
    defaults = BaseTrainConfig()
    config = BaseTrainConfig(seed=seed, minutes=minutes, batch_size=batch_size or defaults.batch_size)
    config = of_length(config, steps or defaults.steps)
    result = train_base(
        BaseDesign(timm_name, pretrained=pretrained, model_args=dict(model_args)),
        images,
        folder=folder,
        preprocess=Preprocess(img_size=int(size)),
        config=config,
        progress=progress,
        checkpoint_dir=folder.parent / f".{folder.name}.checkpoints",
        resume=resume,
    )
    best = result.outcome.best
    return {
        "dir": str(folder),
        "steps": result.outcome.steps,
        "top1_search": best.score.top1,
        "top1_search_interval": list(best.score.interval),
        "num_images": best.score.num_images,
        "seconds": round(result.outcome.seconds, 1),
        "device": result.outcome.device,
        "precision": result.outcome.precision,
        "notes": list(found.notes),
    }
