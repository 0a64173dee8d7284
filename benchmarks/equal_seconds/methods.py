"""Ours, and Optuna's samplers alone with as many CPU seconds as ours took.

The rivals have everything but what this product's search adds: the same derivation, scores, latency predictor, giving
up of hopeless subnets, and cutting of proposals to the budget. Winners of all are refined once more, uncharged.
"""

import dataclasses
import time
from dataclasses import dataclass

from benchmarks.equal_seconds.setting import Setting
from nuwa_search.core.arch import Arch
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.explore import Explorer
from nuwa_search.search.finalists import (
    LARGE_FINALISTS,
    LARGE_REFINE_IMAGES,
    NUM_FINALISTS,
    REFINE_IMAGES,
    pick_finalists,
    rank_finalists,
    refiner_of,
)
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.job.study_rounds import EXPLORED_SEEDS, PATIENCE
from nuwa_search.search.library import build_library
from nuwa_search.search.run import SEED_ORIGINS, run_study
from nuwa_search.search.trials import StudyConfig, StudyHooks, StudyResult

OURS = "ours"
SAMPLERS = ("random", "tpe", "nsga2")
METHODS = (OURS, *SAMPLERS)
UNENDING = 1_000_000
"""Trials of a study that its seconds end."""


@dataclass(frozen=True)
class Found:
    """What a method came to.

    Args:
        arch: Its winner; None where nothing that fits was scored.
        kl: Of the winner, on the search images, before it is refined.
        cpu_seconds: From the first cut to the choice of the winner.
        num_scored: Nets that images were spent on, given up ones included; single cuts not.
        best_handed: Least KL among the study's first trials, which it was handed; None without.
        best_own: Least KL among those that the study proposed itself.
        archs: Nets that were scored on all images, for the surrogate's card.
    """

    arch: Arch | None
    kl: float | None
    cpu_seconds: float
    num_scored: int
    best_handed: float | None
    best_own: float | None
    archs: tuple[Arch, ...]


def ours(setting: Setting, *, seed: int) -> Found:
    """Search as ``nuwa-search`` does by default: single cuts, exploration where images are large, study, finalists."""
    begun = time.process_time()
    library = build_library(
        setting.space, deriver=setting.deriver, scorer=setting.scorer, teacher=setting.teacher, on_row=None
    )
    small = is_small(setting.teacher.arch)
    config = StudyConfig(seed=seed)
    explorer = None
    if not small:
        explorer = Explorer(setting.space, deriver=setting.deriver, scorer=setting.scorer, library=library, seed=seed)
        config = dataclasses.replace(config, patience=PATIENCE, num_seeds=EXPLORED_SEEDS)
    study = run_study(
        setting.space,
        deriver=setting.deriver,
        scorer=setting.scorer,
        limits=setting.limits,
        config=config,
        guidance=Guidance(library=library, explorer=explorer),
    )
    finalists = rank_finalists(
        pick_finalists(study, count=NUM_FINALISTS if small else LARGE_FINALISTS),
        refiner=refiner_of(setting.deriver, max_images=REFINE_IMAGES if small else LARGE_REFINE_IMAGES),
        scorer=setting.scorer,
    )
    winner = finalists[0].trial if study.best is not None else None
    found = _found(study, time.process_time() - begun)
    return dataclasses.replace(found, arch=winner.arch if winner else None, kl=winner.kl if winner else None)


def unaided(sampler: str, setting: Setting, *, seed: int, cpu_seconds: float) -> Found:
    """Let Optuna's sampler propose alone until the seconds are over."""
    begun = time.process_time()
    study = run_study(
        setting.space,
        deriver=setting.deriver,
        scorer=setting.scorer,
        limits=setting.limits,
        config=StudyConfig(trials=UNENDING, seed=seed, sampler=sampler, guided=False, max_proposals_per_trial=UNENDING),
        guidance=Guidance(seeds=()),
        hooks=StudyHooks(should_stop=lambda: time.process_time() - begun >= cpu_seconds),
    )
    return _found(study, time.process_time() - begun)


def _found(study: StudyResult, cpu_seconds: float) -> Found:
    fitting = [trial for trial in study.fitting if trial.kl is not None and trial.state == "scored"]
    handed = [trial.kl for trial in fitting if trial.origin in SEED_ORIGINS and trial.kl is not None]
    own = [trial.kl for trial in fitting if trial.origin not in SEED_ORIGINS and trial.kl is not None]
    return Found(
        arch=study.best.arch if study.best else None,
        kl=study.best.kl if study.best else None,
        cpu_seconds=cpu_seconds,
        num_scored=study.num_evaluations,
        best_handed=min(handed, default=None),
        best_own=min(own, default=None),
        archs=tuple(trial.arch for trial in fitting),
    )
