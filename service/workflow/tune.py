"""Win the winner's accuracy back: distillation from the task's base."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from deploy.train.config import FinetuneConfig
from deploy.train.finetune import FinetuneResult, finetune
from deploy.train.teacher import Teacher
from nuwa.arch import Arch
from nuwa.cache import content_key
from nuwa.vit import PlainViT
from nuwa.weights import hash_tensors
from search.judge import judge, pick_candidates
from search.tuning import make_tune
from service.workflow.find import Finder, Found
from service.workflow.hooks import Hooks
from service.workflow.inputs import Inputs
from service.workflow.request import SearchRequest
from service.workflow.winner import top1_on

SHORT_STEPS = 40
"""Steps of the last rung of a competition: a fifth of a full run tells most of the order."""


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


def pick_by_short_runs(
    found: Found, *, finder: Finder, request: SearchRequest, inputs: Inputs, hooks: Hooks
) -> tuple[Arch, PlainViT]:
    """Let the study's best subnets compete in short distillations; the winner by KL where only one is wanted.

    Only subnets that keep the budget when measured compete.
    """
    if request.judge < 2 or not request.finetune:
        return found.trial.arch, found.model
    candidates = pick_candidates(found.study, deriver=finder.deriver, count=request.judge)
    fitting = [c for c in candidates if finder.is_within_budget(finder.measure(c.model))]
    if len(fitting) < 2:
        return found.trial.arch, found.model
    verdict = judge(
        fitting,
        tune=make_tune(Teacher(inputs.teacher.model), inputs.tensors, config=FinetuneConfig(seed=request.seed)),
        full_steps=SHORT_STEPS,
        on_judgement=lambda one: hooks.step(f"{one.name}: {100 * one.top1:.1f} % on search after {one.steps} steps"),
    )
    return verdict.winner.arch, verdict.winner.model


def tune(model: PlainViT, *, request: SearchRequest, inputs: Inputs, checkpoint_dir: Path, hooks: Hooks) -> Tuned:
    """Fine-tune ``model`` with the task's base as teacher; goes on where an interrupted run stopped.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    if not request.finetune:
        return Tuned(model, top1_on(model, inputs), None, None)
    config = finetune_config(request, num_train=len(inputs.tensors.train))
    result = finetune(
        model,
        teacher=Teacher(inputs.teacher.model),
        train=inputs.tensors.train,
        search=inputs.tensors.search,
        preprocess=inputs.base.preprocess,
        config=config,
        progress=hooks.finetune,
        checkpoint_dir=checkpoint_dir / _run_key(model, config),
        resume=True,
    )
    return Tuned(result.student, result.after.top1, result, config)


def _run_key(model: PlainViT, config: FinetuneConfig) -> str:
    """Name the checkpoint of one run: other weights or settings are another run."""
    return content_key(hash_tensors(model.state_dict()), str(dataclasses.asdict(config)))
