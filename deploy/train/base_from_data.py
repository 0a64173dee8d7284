"""Train a base on a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm

from nuwa_search.core.class_scores import Interval
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.divide import without_test_images
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import WHOLE, Preprocess
from nuwa_search.core.img_size import checked_img_size
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.suggest import unknown_name
from nuwa_search.deploy.train.base_config import BaseDesign, BaseTrainConfig
from nuwa_search.deploy.train.base_train import train_base
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.recipe import of_length


@dataclass(frozen=True)
class BaseTrainRequest:
    """What training a base is asked for.

    Args:
        data: Its images.
        design: Which ViT.
        label_column: Of Parquet files.
        steps: Optimiser steps; None for the default.
        batch_size: Images per step; None for the default.
        minutes: Wall time to fit the run into; None for all steps.
        seed: Of everything random.
    """

    data: str
    design: BaseDesign
    label_column: str | None = None
    steps: int | None = None
    batch_size: int | None = None
    minutes: float | None = None
    seed: int = 0

    @property
    def config(self) -> BaseTrainConfig:
        """The recipe, its schedule as long as the steps."""
        defaults = BaseTrainConfig()
        config = BaseTrainConfig(
            seed=self.seed, minutes=self.minutes, batch_size=self.batch_size or defaults.batch_size
        )
        return of_length(config, self.steps or defaults.steps)


@dataclass(frozen=True, kw_only=True)
class BaseTrainAnswer(JsonFields):
    """Result of training a base: the `nuwa.base-train/1` answer without its schema.

    Args:
        dir: The base.
        steps: Optimiser steps done.
        top1_search: Top-1 accuracy (fraction) of the best weights on the held-out split.
        top1_search_interval: 95 % interval of it.
        num_images: Number of images of that split.
        seconds: Of the run.
        device: Where it was trained.
        precision: Precision of the forward passes.
        notes: What was left out of the images, in sentences.
    """

    dir: Path
    steps: int
    top1_search: float
    top1_search_interval: Interval
    num_images: int
    seconds: float
    device: str
    precision: str
    notes: tuple[str, ...]


def train_base_from(
    request: BaseTrainRequest, *, folder: Path, resume: bool, progress: Callable[[Progress], None]
) -> BaseTrainAnswer:
    """Train on the train split of the data and write the base; checkpoints lie beside it until it is done.

    Args:
        request: What is wanted.
        folder: Where the base is written.
        resume: Go on from the checkpoint there.
        progress: Called with where the run stands.

    Raises:
        NuwaError: If the model is unknown or the data has no training split.
    """
    name, data, model_args = request.design.timm_name, request.data, request.design.model_args
    if not timm.is_model(name):
        raise unknown_name("model", name, timm.list_models("*vit*"))
    found = load_dataset(data, label_column=request.label_column, task="classification")
    splits = found.splits
    images = splits.get("train") or splits.get(WHOLE)
    if images is None:
        raise NuwaError(
            f"{data} has only the splits {', '.join(splits)}, wanted train", hint="name data with a train split"
        )
    size = model_args.get("img_size")
    if size is None:
        size = timm.create_model(name, pretrained=False).pretrained_cfg["input_size"][-2:]
    preprocess = Preprocess(img_size=checked_img_size(size, "img_size among the model's arguments"))
    images, left_out = without_test_images(splits, images, preprocess)
    result = train_base(
        request.design,
        images,
        folder=folder,
        preprocess=preprocess,
        config=request.config,
        progress=progress,
        checkpoint_dir=folder.parent / f".{folder.name}.checkpoints",
        resume=resume,
    )
    best = result.outcome.best
    return BaseTrainAnswer(
        dir=folder,
        steps=result.outcome.steps,
        top1_search=best.score.accuracy,
        top1_search_interval=best.score.interval,
        num_images=best.score.num_images,
        seconds=round(result.outcome.seconds, 1),
        device=result.outcome.device,
        precision=result.outcome.precision,
        notes=(*found.notes, *left_out),
    )
