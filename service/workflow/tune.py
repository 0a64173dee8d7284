"""Win the winner's accuracy back: distillation from the task's base."""

import math
from dataclasses import dataclass
from pathlib import Path

from deploy.train.config import FinetuneConfig
from deploy.train.finetune import FinetuneResult, finetune
from deploy.train.teacher import Teacher
from nuwa.vit import PlainViT
from service.workflow.hooks import Hooks
from service.workflow.inputs import Inputs
from service.workflow.request import SearchRequest


@dataclass(frozen=True)
class Tuned:
    """A model ready to ship.

    Args:
        model: Fine-tuned, or as derived where that was asked for.
        top1_search: Fraction on the search split.
        result: Of the fine-tuning; None without one.
        config: Its settings; None without one.
    """

    model: PlainViT
    top1_search: float
    result: FinetuneResult | None
    config: FinetuneConfig | None


def finetune_config(request: SearchRequest, *, num_train: int) -> FinetuneConfig:
    """Choose the settings: steps if given, else epochs, else the defaults."""
    steps = request.finetune_steps
    defaults = FinetuneConfig()
    if steps is None and request.finetune_epochs is not None:
        steps = math.ceil(request.finetune_epochs * num_train / defaults.batch_size)
    if steps is None:
        return FinetuneConfig(seed=request.seed)
    warmup = min(defaults.warmup_steps, steps // 5)
    return FinetuneConfig(
        seed=request.seed, steps=steps, warmup_steps=warmup, eval_every=min(defaults.eval_every, steps)
    )


def tune(
    model: PlainViT, *, top1_search: float, request: SearchRequest, inputs: Inputs, checkpoint_dir: Path, hooks: Hooks
) -> Tuned:
    """Fine-tune ``model`` with the task's base as teacher; goes on where an interrupted run stopped.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    if not request.finetune:
        return Tuned(model, top1_search, None, None)
    config = finetune_config(request, num_train=len(inputs.tensors.train))
    result = finetune(
        model,
        teacher=Teacher(inputs.teacher.model),
        train=inputs.tensors.train,
        search=inputs.tensors.search,
        preprocess=inputs.base.preprocess,
        config=config,
        progress=hooks.finetune,
        checkpoint_dir=checkpoint_dir,
        resume=True,
    )
    return Tuned(result.student, result.after.top1, result, config)
