"""From the study's best to what is shipped: refined, fine-tuned, and held against a small ViT and the base."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.accelerator import CPU
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.derive.defaults import refined_options
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.small_rival import small_rival
from nuwa_search.search.job.study_rounds import Winner, others_for
from nuwa_search.search.job.tune import (
    Tuned,
    config_in_time,
    is_second_run_due,
    pick_by_short_runs,
    tune,
    untuned,
)
from nuwa_search.search.job.winner import Entrant, Shipped, score_on
from nuwa_search.search.recording.records import record_derived, record_tuned, subnet_id_of
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.store.records import ScoreRecord


def choose_shipped(winner: Winner, finder: Finder, *, cache_dir: Path, has_small_model: bool) -> Shipped:
    """Fine-tune the winner and what competes with it; the best on the search split is shipped.

    Args:
        winner: Of the study.
        finder: Of the search.
        cache_dir: For the teacher's outputs, checkpoints and pretrained nets.
        has_small_model: Whether the small alternative takes part, if it was asked for.
    """
    request, inputs, hooks = finder.request, finder.inputs, finder.hooks
    # a student of another size is shown the same images at its own
    is_sized = any(trial.arch.img_size != inputs.base.arch.img_size for trial in winner.study.trials)
    shown = inputs.tensors.train if is_sized else None
    teacher = Teacher(inputs.teacher.model, cache_dir=cache_dir / "teacher", train=shown)
    steps = request.small_model_steps if has_small_model and request.finetune else None
    rival = None if steps is None else small_rival(finder, steps=steps, cache_dir=cache_dir)
    arch, derived = pick_by_short_runs(winner, finder=finder, teacher=teacher)
    if arch != winner.arch:
        derived = finder.deriver.derive_refined(arch)
    hooks.step(f"refined: {score_on(derived, inputs).said} on the search split, untrained")
    refined = refined_options(finder.deriver.options)
    entrants = [Entrant("subnet", arch, derived, subnet_id_of(arch, inputs, refined), dataclasses.asdict(refined))]
    if rival is not None:
        entrants.append(Entrant("small-model", rival.arch, rival.model, rival.subnet_id, rival.derivation))
    shipped, tuned = _compete(entrants, finder, teacher=teacher, cache_dir=cache_dir)
    base = inputs.teacher.model
    if finder.base_fits and score_on(base, inputs).accuracy > tuned.score.accuracy:
        identity = subnet_id_of(base.arch, inputs, finder.deriver.options)
        derivation = dataclasses.asdict(finder.deriver.options)
        record_derived(finder.store, inputs, base.arch, identity, study=finder.study_name, derivation=derivation)
        _record_score(base, identity, finder)
        whole = copy.deepcopy(base).to(CPU)
        return Shipped(base.arch, whole, whole, "base", identity, derivation)
    return shipped


def _compete(
    entrants: Sequence[Entrant], finder: Finder, *, teacher: Teacher, cache_dir: Path
) -> tuple[Shipped, Tuned]:
    """Fine-tune each for the same steps; the better on the search split wins, a tie goes to the first.

    One that is alone and stays behind the base is fine-tuned for as many steps again, on images in another order.
    """
    inputs, hooks, config = finder.inputs, finder.hooks, None
    if finder.request.finetune:
        ends = finder.deadline.part(1 / len(entrants))
        config = config_in_time(entrants[0].model, finder=finder, teacher=teacher, deadline=ends)
    finals = []
    for one in entrants:
        tuned = untuned(one.model, inputs)
        if config is not None:
            folder = cache_dir / "finetune" / finder.study_name
            tuned = tune(one.model, teacher=teacher, config=config, finder=finder, checkpoint_dir=folder)
            name = "" if one.kind == "subnet" else f"{one.kind} "
            hooks.step(f"{name}fine-tuned: {tuned.score.said} on the search split")
        record_derived(
            finder.store, inputs, one.arch, one.subnet_id, study=finder.study_name, derivation=one.derivation
        )
        if one.kind == "subnet":
            _record_score(one.model, one.subnet_id, finder)
        record_tuned(finder.store, one.subnet_id, tuned)
        if config is not None and len(entrants) == 1 and is_second_run_due(tuned, finder):
            hooks.step("it stays behind the base, and is fine-tuned for as many steps again")
            again = dataclasses.replace(config, seed=config.seed + 1)
            tuned = tune(tuned.model, teacher=teacher, config=again, finder=finder, checkpoint_dir=folder)
            hooks.step(f"fine-tuned: {tuned.score.said} on the search split")
            record_tuned(finder.store, one.subnet_id, tuned)
        models = (tuned.model.to(CPU), one.model.to(CPU))  # what ships is exported and checked where it runs everywhere
        finals.append((Shipped(one.arch, *models, one.kind, one.subnet_id, one.derivation), tuned))
    return max(finals, key=lambda pair: pair[1].score.merit)


def _record_score(model: PlainViT, identity: str, finder: Finder) -> None:
    """Store how a subnet scores as it was derived, on the images of the study's scores."""
    inputs, seed = finder.inputs, finder.request.seed
    scorer = TeacherScorer(
        inputs.teacher.model,
        inputs.tensors.search,
        inputs.base.preprocess,
        seed=seed,
        metric=inputs.task.metric,
        known=inputs.tensors.known,
        others=others_for(model.arch, inputs),
    )
    score = scorer.score(model)
    figures = {"kl_to_teacher": score.kl, "top1_derived": score.top1}
    finder.store.record_scores(
        ScoreRecord(identity, kind, "search", score.num_images, seed, value)
        for kind, value in figures.items()
        if value is not None
    )
