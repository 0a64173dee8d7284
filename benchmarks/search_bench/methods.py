"""The methods: each spends at most so many scored subnets and names one winner.

Whoever derives subnets from the base (ours, random, NSGA-II, TPE) has the winner refined, as `nuwa-search` ships it;
only the search differs between them. Winners are measured before they count: one over the budget gives way to the
next best that was scored.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.derive_bench.torch_pruning_cut import prune_to, restricted_timm, taylor_gradients
from benchmarks.search_bench.setting import DeviceSetting, TaskSetting
from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_macs
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.feasible import BudgetTooSmallError, Limits
from nuwa_search.search.finalists import pick_finalists, rank_finalists, refiner_of
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.run import run_study
from nuwa_search.search.trials import StudyConfig, StudyResult

MAX_PROPOSALS = 2000
"""Free proposals in a row that an unaided sampler may make before it counts as unable to reach the budget."""

LEAST_MAC_SHARE, LEAST_ISOMORPHIC_SHARE = 0.05, 0.14
"""Of the base's MACs: below it Torch-Pruning leaves no channel somewhere, or gives a head back all its width."""
MAC_BISECTIONS = 6
"""Of Torch-Pruning's MACs until the device measures the budget: to within 1.5 % of the base's MACs."""
TAYLOR_IMAGES = 500
"""As in the derivation benchmark."""


@dataclass(frozen=True)
class Scored:
    """One scored subnet: ``kl`` is None where it was given up after the first images."""

    arch: Arch
    predicted_ms: float
    kl: float | None
    top1_search: float | None


@dataclass(frozen=True)
class MethodResult:
    """A method's winner.

    Args:
        arch: None where the budget cannot be reached.
        model: Derived, not distilled.
        scored: Every scored subnet, in order.
        fastest: Fastest arch the method can make, where it cannot reach the budget.
        misses: Better subnets that were over the budget when measured.
    """

    arch: Arch | None
    model: PlainViT | None
    scored: tuple[Scored, ...] = ()
    fastest: Arch | None = None
    misses: int = 0

    @property
    def score_kl(self) -> float | None:
        """What the search knew of its winner."""
        return next((one.kl for one in self.scored if one.arch == self.arch), None)


FINALISTS = 6
"""Of every kept cell; searches have three since."""

Method = Callable[[TaskSetting, DeviceSetting, float, int, int], MethodResult]


def ours(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
    """Library, exact seeds, guided study, and a last choice among a few refined subnets.

    A finalist is scored a second time, and that counts as one of the scored subnets.
    """
    num_finalists = min(FINALISTS, trials // 2)
    config = StudyConfig(trials=trials - num_finalists, seed=seed)
    return _study(task, device, budget_ms, config, has_library=True, num_finalists=num_finalists)


def without_finalists(
    task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int
) -> MethodResult:
    """Ours, but the study's first ships: all scored subnets go to the study."""
    return _study(task, device, budget_ms, StudyConfig(trials=trials, seed=seed), has_library=True)


def unaided_config(sampler: str, *, trials: int, seed: int, repair: bool, pareto: bool = False) -> StudyConfig:
    """Settings of a study that has nothing but Optuna's sampler.

    Args:
        sampler: By name.
        trials: Subnets to score.
        seed: Of the sampler.
        repair: Whether proposals that do not fit are narrowed until they do.
        pareto: Whether the whole front is looked for.
    """
    return StudyConfig(
        trials=trials,
        seed=seed,
        sampler=sampler,
        guided=False,
        repair=repair,
        pareto=pareto,
        max_proposals_per_trial=MAX_PROPOSALS,
    )


def unaided(sampler: str, *, repair: bool) -> Method:
    """Optuna's sampler alone: no library, no seeds, no guide."""

    def method(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
        config = replace(unaided_config(sampler, trials=trials, seed=seed, repair=repair), prune=False)
        return _study(task, device, budget_ms, config, has_library=False)

    return method


def study_of(
    task: TaskSetting, device: DeviceSetting, budget_ms: float, config: StudyConfig, *, has_library: bool
) -> StudyResult:
    """Run one study of the program; without the library it starts from nothing."""
    return run_study(
        task.space,
        deriver=task.deriver,
        scorer=task.scorer,
        limits=Limits(device.predictor, budget_ms),
        config=config,
        guidance=Guidance(task.library) if has_library else Guidance(seeds=()),
    )


def _study(
    task: TaskSetting,
    device: DeviceSetting,
    budget_ms: float,
    config: StudyConfig,
    *,
    has_library: bool,
    num_finalists: int = 0,
) -> MethodResult:
    try:
        result = study_of(task, device, budget_ms, config, has_library=has_library)
    except BudgetTooSmallError as error:
        return MethodResult(None, task.deriver.derive_refined(error.fastest), (), error.fastest)
    scored = scored_by(result)
    ranked = [t.arch for t in sorted(result.fitting, key=lambda t: (t.kl is None, t.kl, t.number))]
    if num_finalists:
        finalists = rank_finalists(
            pick_finalists(result, count=num_finalists), refiner=refiner_of(task.deriver), scorer=task.scorer
        )
        ranked = [f.trial.arch for f in finalists] + ranked
        scored += tuple(Scored(f.trial.arch, f.trial.predicted_latency_ms, None, f.refined.top1) for f in finalists)
    arch, misses = _first_within(ranked, device, budget_ms)
    if arch is None:
        proposed = [t for t in result.trials if task.space.has_attention(t.arch)]
        fastest = min(proposed, key=lambda t: t.predicted_interval_ms[1]).arch
        return MethodResult(None, task.deriver.derive_refined(fastest), scored, fastest, misses)
    return MethodResult(arch, task.deriver.derive_refined(arch), scored, misses=misses)


def scored_by(result: StudyResult) -> tuple[Scored, ...]:
    """List everything that was scored, in order."""
    return tuple(
        Scored(t.arch, t.predicted_latency_ms, t.kl if t.state == "scored" else None, t.top1_search)
        for t in result.trials
        if t.is_evaluation
    )


def _first_within(ranked: Sequence[Arch], device: DeviceSetting, budget_ms: float) -> tuple[Arch | None, int]:
    for misses, arch in enumerate(ranked):
        if device.measure(arch) <= budget_ms:
            return arch, misses
    return None, len(ranked)


def uniform_nuwa(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
    """Uniform widths, derived as NuWa publishes (arXiv 2504.03118): data-free SVD, mean activation, least squares.

    The published method has one knob; here the best by KL of up to ``trials`` uniform archs that fit is taken.
    """
    del seed
    family = list(task.space.uniform_family())
    prediction = device.predictor.predict(family)
    options = DeriveOptions(svd="weights", ranking="activation", depth_correction=False)
    deriver = Deriver(
        task.teacher, task.tensors.train, task.tensors.preprocess, options=options, cache=task.deriver.cache
    )
    inside = [k for k in np.argsort(-prediction.value, kind="stable") if prediction.upper[k] <= budget_ms]
    scored = []
    for k in inside[:trials]:
        score = task.scorer.score(deriver.derive(family[int(k)]))
        scored.append(Scored(family[int(k)], float(prediction.value[k]), score.kl, score.top1))
    ranked = [one.arch for one in sorted(scored, key=lambda one: one.kl or 0.0)]
    arch, misses = _first_within(ranked, device, budget_ms)
    if arch is None:
        fastest = family[int(np.argmin(prediction.upper))]
        return MethodResult(None, deriver.derive(fastest), tuple(scored), fastest, misses)
    return MethodResult(arch, deriver.derive(arch), tuple(scored), misses=misses)


def random_search(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
    """Random archs; those that do not fit are narrowed at random until they do."""
    return unaided("random", repair=True)(task, device, budget_ms, trials, seed)


def torch_pruning(*, isomorphic: bool) -> Method:
    """Torch-Pruning by Taylor importance, widths cut until the device measures the budget."""

    def method(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
        del trials, seed
        least = LEAST_ISOMORPHIC_SHARE if isomorphic else LEAST_MAC_SHARE
        return _cut_to_latency(_taylor_cut(task, isomorphic=isomorphic), device, budget_ms, least=least)

    return method


def _cut_to_latency(
    cut: Callable[[float], PlainViT], device: DeviceSetting, budget_ms: float, *, least: float
) -> MethodResult:
    low, high = least, 1.0
    best = cut(low)
    if device.measure(best.arch) > budget_ms:
        return MethodResult(None, best, (), best.arch)
    for _ in range(MAC_BISECTIONS):
        share = (low + high) / 2
        found = cut(share)
        if device.measure(found.arch) <= budget_ms:
            best, low = found, share
        else:
            high = share
    return MethodResult(best.arch, best)


_TAYLOR_CUTS: dict[tuple[str, bool], Callable[[float], PlainViT]] = {}


def _taylor_cut(task: TaskSetting, *, isomorphic: bool) -> Callable[[float], PlainViT]:
    """Cut to a share of the base's MACs; gradients are taken, and shares cut, once per task."""
    key = task.name, isomorphic
    if key not in _TAYLOR_CUTS:
        net = restricted_timm(task.base_folder, task.classes)
        few = spread_evenly(task.tensors.train, TAYLOR_IMAGES)
        gradients = taylor_gradients(net, few, task.tensors.preprocess)
        full = count_macs(task.teacher.arch)

        @functools.cache
        def cut(share: float) -> PlainViT:
            return prune_to(
                net,
                int(share * full),
                importance="taylor",
                gradients=gradients,
                with_stream=False,
                isomorphic=isomorphic,
            )

        _TAYLOR_CUTS[key] = cut
    return _TAYLOR_CUTS[key]


def _memoised(method: Method) -> Method:
    """Run a method without randomness once per task, device and budget."""
    known: dict[tuple[str, str, float, int], MethodResult] = {}

    def remembering(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> MethodResult:
        key = (task.name, device.spec.name, budget_ms, trials)
        if key not in known:
            known[key] = method(task, device, budget_ms, trials, seed)
        return known[key]

    return remembering


METHODS: dict[str, Method] = {
    "ours": ours,
    "uniform": _memoised(uniform_nuwa),
    "random": random_search,
    "nsga2": unaided("nsga2", repair=False),
    "tpe": unaided("tpe", repair=False),
    "torch-pruning": _memoised(torch_pruning(isomorphic=False)),
    "torch-pruning-isomorphic": _memoised(torch_pruning(isomorphic=True)),
}
ABLATIONS: dict[str, Method] = {"ours-without-finalists": without_finalists}
"""Run only where ``--methods`` names them."""
