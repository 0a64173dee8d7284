"""Win the winner's accuracy back: distillation from the task's base."""

import dataclasses
import functools
import math
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.accelerator import pick_device
from nuwa_search.core.arch import Arch
from nuwa_search.core.cache import content_key
from nuwa_search.core.tasks.kind import TaskKind
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult
from nuwa_search.deploy.train.recipe import NO_AUGMENT, of_length
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.deploy.train.spread import finetune_in
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.job.deadline import Deadline
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.finetune_place import finetune_place
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.study_rounds import Winner
from nuwa_search.search.job.winner import score_on
from nuwa_search.search.judge import Distilled, Judgement, Tune, judge, pick_candidates
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.run_cost import affordable_steps, measure_run_cost
from nuwa_search.search.tuning import make_tune

DEFAULT_STEPS = 100
"""Steps of 64 images where none are asked for: 44 CPU seconds for the packaged base and a task of 2 000 images."""
LARGE_STEPS = 70
LARGE_BATCH = 32
LARGE_PARTS = 2
LARGE_VIEWS = 1
LARGE_LR = 1.5e-5
LARGE_EVAL_EVERY = LARGE_STEPS
"""The same for images of more than ``FEW_TOKENS`` tokens, half a batch at a time for the memory of the activations. The
teacher's outputs are kept view by view; with one it sees each image once, not up to eight times, which would cost more
than the student's own steps. On the default base the small bases' 3e-4 and mixed images threw the loss from 3 to 35.
A net of 30 ms of the default base (KL to the base on test images 0.106, top1 75.0 %), unmixed images: 100 steps at 3e-5
0.129 and 91.0 %, 70 steps at 3e-5 0.111 and 83.3 %, at 1.5e-5 **0.093 and 84.8 %**; 60 at 6e-5 threw the loss to 12 and
won nothing, nor did 70 at 2e-5 with five steps of warm-up. Six of ten blocks frozen won nothing either, two of ten left
100 steps at 88.5 % and took 0.87 of the time. A net of 30 ms on the magnetic tiles: 70 at 1.5e-5 took it from 66.1 % to
77.2 %, KL 0.325 to 0.259 (one run each; no command of the project repeats them). Weights are scored at the end only,
and no average is kept: in 100 steps at 3e-5 the average's top1 went from 75.5 % to 80.5 %, that of the weights
themselves to 90.0 %."""
MAP_STEPS = 150
MAP_BATCH = 16
MAP_LR = 3e-4
MAP_TEMPERATURE = 1.0
MAP_EVAL_EVERY = 50
"""The same where each of many tokens has an answer: every image then teaches hundreds of patches, and steps are a share
of each tensor's size. A net of about 30 ms of the default base, magnetic tiles, steps of 16 images, mIoU on the search
split halfway and at the end, and on the test split. From the derived head (40.8, 40.7 %): steps of 3e-5 alike for every
weight 30 %, 48 %, 50 % in 100 steps, and 1e-4 15 % halfway; 2e-3 of each tensor's size 19 to 23 %, 43 %, 40 to 46 % in
60. From a head fitted anew (50.7, 50.7 %) with 3e-4 of each tensor's size in 60 steps: 45 %, 50.8 %, 51.4 % by labels
weighing by rarity to the power of 0.25; 39 %, 50.5 %, 53.1 % by half labels without weights and half the base's map.
Temperatures above 1 flatten the maps of a head that was fitted to be calibrated."""
SECOND_RUN_BELOW = 0.02
"""Accuracy that a net may lack of its base's on the search split before it is fine-tuned for as many steps again. The
default search's seed 1 threw its loss twice in its 100 steps and went from 73.0 % of the search split to 75.0 %, where
the base has 79.8 %; 100 steps more from there brought it to 86.5 %. Steps in proportion to each tensor's size threw
less, and from the same 73.0 % went nowhere either: 74.8 % in 50 steps at 3e-4 and 75.0 % at 1e-3, 74.5 % in 100 at
5e-4, all of 32 images; batches of 8 and of 16 as little. Nets of small images are not thrown: in both searches of the
packaged base in which it was tried, a second run left 88.4 % and 87.4 % as they were and doubled the time."""
SHORT_STEPS = 40
"""Steps of the last rung of a competition: less than a full run is meant to tell the good from the bad."""
JUDGE_SHARE = 0.5
"""Share of the time left that a competition may take; the rest is for the winner's own fine-tuning."""


@dataclass(frozen=True)
class Tuned:
    """A model ready to ship.

    Args:
        model: Fine-tuned, or as derived where that was asked for.
        score: On the search split.
        result: Of the fine-tuning; None without one.
        config: Its settings; None without one.
    """

    model: PlainViT
    score: SplitScore
    result: FinetuneResult | None
    config: FinetuneConfig | None


ALPHA_OF_FITTED_HEAD = 0.5
"""Share of the teacher's logits where its head was fitted in closed form: it knows less than the labels do."""


def finetune_config(
    *,
    steps: int | None,
    epochs: float | None,
    num_train: int,
    seed: int,
    has_fitted_head: bool,
    is_large: bool = False,
    kind: TaskKind = "classification",
) -> FinetuneConfig:
    """Choose the settings: steps if given, else epochs, else the defaults.

    The student matches the teacher's function on mixed images and takes no labels (Knowledge distillation: a
    good teacher is patient and consistent, arXiv 2106.05237): a base that has seen the training images knows
    their labels by heart, and says more about mixtures of them.

    Args:
        steps: Training steps; None to go by ``epochs``.
        epochs: Passes over the training images, used where ``steps`` is None; None for the default length.
        num_train: Training images; they turn epochs into steps. The teacher sees as many views of them as there are
            whole passes: of one more it would be asked all and used a part.
        seed: Seed of the run.
        has_fitted_head: Whether the teacher's head was fitted to the training images; labels then count too.
        is_large: Whether an image has many tokens: small batches and few steps.
        kind: Whether images or their pixels have classes.
    """
    defaults = FinetuneConfig(seed=seed, alpha=1.0, temperature=4.0, mixup=0.8, cutmix=1.0, views=8)
    if has_fitted_head:
        defaults = dataclasses.replace(defaults, alpha=ALPHA_OF_FITTED_HEAD)
    if is_large:
        defaults = dataclasses.replace(
            defaults,
            batch_size=LARGE_BATCH,
            accumulate=LARGE_PARTS,
            views=LARGE_VIEWS,
            lr=LARGE_LR,
            mixup=0.0,
            cutmix=0.0,
            ema_decay=0.0,
            eval_every=LARGE_EVAL_EVERY,
        )
        if has_fitted_head:  # it was fitted to images as they are: of mirrored ones the default base knows little
            defaults = dataclasses.replace(defaults, augment=NO_AUGMENT)
    if kind == "segmentation":  # masks of mixed pictures mean nothing, and the head knows pictures as they are
        defaults = dataclasses.replace(defaults, augment=NO_AUGMENT, mixup=0.0, cutmix=0.0, views=1, refit_head=True)
    usual = LARGE_STEPS if is_large else DEFAULT_STEPS
    if kind == "segmentation" and is_large:
        usual = MAP_STEPS
        defaults = dataclasses.replace(
            defaults,
            batch_size=MAP_BATCH,
            accumulate=1,
            lr=MAP_LR,
            lr_of_rms=True,
            temperature=MAP_TEMPERATURE,
            eval_every=MAP_EVAL_EVERY,
        )
    if steps is None and epochs is not None:
        steps = math.ceil(epochs * num_train / defaults.batch_size)
    defaults = of_length(defaults, steps or usual)
    passes = defaults.steps * defaults.batch_size // max(1, num_train)
    return dataclasses.replace(defaults, views=max(1, min(defaults.views, passes)))


def config_of(request: SearchRequest, inputs: Inputs) -> FinetuneConfig:
    """Choose the settings of a search's fine-tuning."""
    settings = finetune_config(
        steps=request.finetune_steps,
        epochs=request.finetune_epochs,
        num_train=len(inputs.tensors.train),
        seed=request.seed,
        has_fitted_head=inputs.teacher.has_fitted_head,
        is_large=not is_small(inputs.teacher.model.arch),
        kind=inputs.task.kind,
    )
    parts = settings.accumulate if is_one_cpu(request) else 1
    return dataclasses.replace(settings, accelerator=request.accelerator, accumulate=parts)


def is_one_cpu(request: SearchRequest) -> bool:
    """Whether one process on a CPU fine-tunes: parts of a batch are for its memory."""
    is_cpu = request.accelerator == "cpu" or (request.executor == "local" and pick_device("auto").type == "cpu")
    return is_cpu and (request.finetune_processes or 1) == 1


def require_finetune_place(request: SearchRequest, inputs: Inputs, executor: Executor) -> None:
    """Refuse processes that could not fine-tune before anything is searched.

    Raises:
        NuwaError: As of ``finetune_place``.
    """
    if request.finetune:
        finetune_place(request, executor, config_of(request, inputs), num_images=len(inputs.tensors.train))


def pick_by_short_runs(winner: Winner, *, finder: Finder, teacher: Teacher) -> tuple[Arch, PlainViT]:
    """Let the study's best subnets compete in short distillations; the winner by KL where only one is wanted.

    Only subnets that keep the budget when measured compete, and as many as half of the time left allows.
    """
    request, inputs, hooks = finder.request, finder.inputs, finder.hooks
    if request.judge < 2 or not request.finetune:
        return winner.arch, winner.model
    candidates = pick_candidates(winner.study, deriver=finder.deriver, count=request.judge)
    fitting = [c for c in candidates if finder.fits(finder.measure(c.model))]
    if len(fitting) < 2:
        return winner.arch, winner.model
    verdict = judge(
        fitting,
        tune=_tune_of_any_size(teacher, inputs, config=config_of(request, inputs)),
        full_steps=SHORT_STEPS,
        seconds=finder.deadline.part(JUDGE_SHARE).left_s(),
        on_judgement=lambda one: hooks.step(_said(one)),
    )
    return verdict.winner.arch, verdict.winner.model


def _tune_of_any_size(teacher: Teacher, inputs: Inputs, *, config: FinetuneConfig) -> Tune:
    """Distil each subnet on images of the size that it takes."""

    def tune(student: PlainViT, steps: int) -> Distilled:
        return make_tune(teacher, inputs.tensors_for(student.arch), config=config)(student, steps)

    return tune


def _said(one: Judgement) -> str:
    accuracy = f"{100 * (one.top1 or 0.0):.1f} %" if one.score is None else one.score.said
    return f"{one.name}: {accuracy} on the search split after {one.steps} steps"


def config_in_time(model: PlainViT, *, finder: Finder, teacher: Teacher, deadline: Deadline) -> FinetuneConfig:
    """Choose the settings of a search's fine-tuning, its steps cut to what fits before the deadline.

    The schedule is made for the steps that fit: a whole short run ends better than a long one broken off.

    Args:
        model: Subnet to fine-tune; short runs on it tell the time of a step. Not changed.
        finder: The search's request, inputs and callbacks.
        teacher: The base with the task's head.
        deadline: When fine-tuning must be over; one without an end leaves the steps as they are.
    """
    inputs = finder.inputs
    config = config_of(finder.request, inputs)
    if deadline.left_s() is None:
        return config
    run = _tune_of_any_size(teacher, inputs, config=config)
    cost = measure_run_cost(lambda steps: run(model, steps))
    steps = affordable_steps(
        cost,
        wanted=config.steps,
        seconds=deadline.left_s(),
        steps_per_view=len(inputs.tensors.train) // config.batch_size,
        max_views=config.views,
    )
    if steps < config.steps:
        finder.hooks.step(f"the time allows {steps} of {config.steps} fine-tuning steps")
    return of_length(config, steps)


def tune(
    model: PlainViT,
    *,
    teacher: Teacher,
    config: FinetuneConfig,
    finder: Finder,
    checkpoint_dir: Path,
) -> Tuned:
    """Fine-tune ``model`` with the task's base as teacher; goes on where an interrupted run stopped.

    Args:
        model: Subnet to fine-tune; not changed.
        teacher: The base with the task's head.
        config: Training settings.
        finder: Of the search: its images are taken at the size that the subnet needs, its executor runs it, and its
            callbacks are told of progress where that is in this process.
        checkpoint_dir: Folder of checkpoints; each run has a folder of its own in it.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    inputs = finder.inputs
    place = finetune_place(finder.request, finder.executor, config, num_images=len(inputs.tensors.train))
    for said in place.said:
        finder.hooks.step(said)
    work = functools.partial(
        finetune_in,
        place.processes,
        model,
        inputs.tensors_for(model.arch),
        teacher=teacher,
        config=config,
        checkpoint_dir=checkpoint_dir / _run_key(model, config),
        resume=True,
    )
    result = finder.executor.call(work, needs=place.needs, progress=finder.hooks.finetune)
    return Tuned(result.student, result.after, result, config)


def is_second_run_due(first: Tuned, finder: Finder) -> bool:
    """Whether a net of large images stays behind its base and is to be fine-tuned for as many steps again.

    Args:
        first: Net after its first run.
        finder: Of the search, in which nobody set the length. Its base is scored on the same images; a deadline must
            leave as long as that run took.
    """
    request, left_s = finder.request, finder.deadline.left_s()
    if is_small(finder.inputs.teacher.model.arch):
        return False
    is_length_set = request.finetune_steps is not None or request.finetune_epochs is not None
    if first.result is None or is_length_set or (left_s is not None and left_s < first.result.seconds):
        return False
    return first.score.accuracy < score_on(finder.inputs.teacher.model, finder.inputs).accuracy - SECOND_RUN_BELOW


def untuned(model: PlainViT, inputs: Inputs) -> Tuned:
    """Take ``model`` as it is."""
    return Tuned(model, score_on(model, inputs), None, None)


def _run_key(model: PlainViT, config: FinetuneConfig) -> str:
    """Return the key of a run's checkpoint: other weights or settings are another run."""
    return content_key(hash_tensors(model.state_dict()), str(dataclasses.asdict(config)))
