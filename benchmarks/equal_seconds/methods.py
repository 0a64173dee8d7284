"""Ours, and Optuna's samplers alone with as many CPU seconds as ours took.

The rivals have everything but what this product's search adds: the same derivation, scores, latency predictor, giving
up of hopeless subnets, and cutting of proposals to the budget. Winners of all are refined once more, uncharged.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.equal_seconds.setting import Setting
from benchmarks.real_size.opened import measured
from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.latency.devices.registry import open_device
from nuwa_search.predictors.device_predictor import DevicePredictor
from nuwa_search.search.executor.local import LocalExecutor
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.deadline import deadline_in
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.study_rounds import StudyRounds
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.run import SEED_ORIGINS, run_study
from nuwa_search.search.trials import StudyConfig, StudyHooks, StudyResult, TrialReport
from nuwa_search.store.store import open_store

OURS = "ours"
SAMPLERS = ("random", "tpe", "nsga2")
METHODS = (OURS, *SAMPLERS)
UNENDING = 1_000_000
"""Trials of a study that its seconds end."""
TOLD_EVERY = 20
"""Scored nets between two lines of progress."""


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


def ours(setting: Setting, *, trials: int) -> Found:
    """Search as ``nuwa-search`` does between statistics and fine-tuning, with no cut scored before."""
    chosen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        finder = _finder(setting, Path(folder), trials=trials, on_step=lambda: chosen.append(time.process_time()))
        begun = time.process_time()
        rounds = StudyRounds(finder, on_trial=_teller(begun))
        winner = rounds.search([survey.promises(setting.teacher.arch) for survey in finder.surveys])
        finder.store.close()
    if winner is None or rounds.study is None:
        raise SystemExit(f"nothing that fits {setting.job.budget_ms:g} ms was scored")
    # the last step told is the choice: the winner's whole refinement behind it is uncharged, as for the others
    return _found(rounds.study, chosen[-1] - begun, best=winner.trial)


def _finder(setting: Setting, folder: Path, *, trials: int, on_step: Callable[[], None]) -> Finder:
    """Gather what a search hands around; its budget leaves no room for noise, as the rivals' does not."""
    job, inputs = setting.job, setting.inputs
    spec = inputs.device
    survey = Survey(
        open_device(spec, seed=setting.seed),
        DevicePredictor(spec, setting.predictor, setting.predictor.predictor_id, None),
        measured(setting.teacher.arch, spec),
        Budget(job.budget_ms),
    )

    def step(text: str) -> None:
        on_step()
        print(f"    {text}", flush=True)

    return Finder(
        request=SearchRequest(
            job.budget_ms, base=job.base, data=job.data, classes=job.classes, seed=setting.seed, trials=trials
        ),
        inputs=inputs,
        store=open_store(str(folder / "nuwa.sqlite")),
        surveys=(survey,),
        cache=Cache(folder / "search"),
        deriver=setting.deriver,
        hooks=Hooks(stage=lambda name: print(f"  {name}", flush=True), step=step),
        study_name=OURS,
        storage_url=None,
        deadline=deadline_in(None),
        executor=LocalExecutor(),
    )


def unaided(sampler: str, setting: Setting, *, cpu_seconds: float) -> Found:
    """Let Optuna's sampler propose alone until the seconds are over."""
    begun = time.process_time()
    study = sampled(sampler, setting, should_stop=lambda: time.process_time() - begun >= cpu_seconds)
    return _found(study, time.process_time() - begun, best=study.best)


def sampled(
    sampler: str,
    setting: Setting,
    *,
    should_stop: Callable[[], bool],
    on_trial: Callable[[TrialReport], None] | None = None,
    prune: bool = True,
) -> StudyResult:
    """Run a study without guidance until it is to stop, hopeless nets given up or, without ``prune``, scored whole."""
    tell = _teller(time.process_time())

    def told(trial: TrialReport) -> None:
        tell(trial)
        if on_trial is not None:
            on_trial(trial)

    return run_study(
        setting.space,
        deriver=setting.deriver,
        scorer=setting.scorer,
        limits=setting.limits,
        config=StudyConfig(
            trials=UNENDING,
            seed=setting.seed,
            sampler=sampler,
            guided=False,
            prune=prune,
            max_proposals_per_trial=UNENDING,
        ),
        guidance=Guidance(seeds=()),
        hooks=StudyHooks(on_trial=told, should_stop=should_stop),
    )


def _teller(begun: float) -> Callable[[TrialReport], None]:
    """Print now and then how many nets were scored since ``begun``, in CPU seconds of this process."""
    scored: list[float] = []

    def tell(trial: TrialReport) -> None:
        if not trial.is_evaluation:
            return
        scored.append(trial.kl if trial.state == "scored" and trial.kl is not None else float("inf"))
        if len(scored) % TOLD_EVERY == 0:
            spent = time.process_time() - begun
            print(f"    {len(scored)} scored, best KL {min(scored):.3f}, {spent:.0f} CPU seconds", flush=True)

    return tell


def _found(study: StudyResult, cpu_seconds: float, *, best: TrialReport | None) -> Found:
    fitting = [trial for trial in study.fitting if trial.kl is not None and trial.state == "scored"]
    handed = [trial.kl for trial in fitting if trial.origin in SEED_ORIGINS and trial.kl is not None]
    own = [trial.kl for trial in fitting if trial.origin not in SEED_ORIGINS and trial.kl is not None]
    return Found(
        arch=best.arch if best else None,
        kl=best.kl if best else None,
        cpu_seconds=cpu_seconds,
        num_scored=study.num_evaluations,
        best_handed=min(handed, default=None),
        best_own=min(own, default=None),
        archs=tuple(trial.arch for trial in fitting),
    )
