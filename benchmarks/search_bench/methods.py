"""The methods: each spends at most so many scored subnets and names one winner."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.search_bench.setting import DeviceSetting, TaskSetting
from nuwa.arch import Arch
from nuwa.base import ASSETS_DIR
from nuwa.cost import count_macs
from nuwa.vit import PlainViT
from search.derive.deriver import Deriver
from search.derive.options import DeriveOptions
from search.feasible import fastest_arch
from search.run import run_study
from search.trials import StudyConfig, StudyResult

MAX_PROPOSALS = 2000
"""Free proposals in a row that an unaided sampler may make before it counts as unable to reach the budget."""

LEAST_MAC_SHARE = 0.05
"""Of the base's MACs: below it Torch-Pruning leaves no channel somewhere."""


@dataclass(frozen=True)
class Outcome:
    """A method's winner.

    Args:
        arch: None where the budget cannot be reached.
        model: Derived, not distilled.
        curve: (predicted milliseconds, KL) of every scored subnet, in order.
        fastest: Fastest arch the method can make, where it cannot reach the budget.
    """

    arch: Arch | None
    model: PlainViT | None
    curve: tuple[tuple[float, float], ...] = ()
    fastest: Arch | None = None


Method = Callable[[TaskSetting, DeviceSetting, float, int, int], Outcome]


def ours(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> Outcome:
    """Library, exact seeds, guided study."""
    return _study(task, device, budget_ms, StudyConfig(trials=trials, seed=seed), has_library=True)


def unaided(sampler: str, *, repair: bool) -> Method:
    """Optuna's sampler alone: no library, no seeds, no guide."""

    def method(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> Outcome:
        config = StudyConfig(
            trials=trials,
            seed=seed,
            sampler=sampler,
            guided=False,
            repair=repair,
            prune=False,
            max_proposals_per_trial=MAX_PROPOSALS,
        )
        return _study(task, device, budget_ms, config, has_library=False)

    return method


def _study(
    task: TaskSetting, device: DeviceSetting, budget_ms: float, config: StudyConfig, *, has_library: bool
) -> Outcome:
    result = run_study(
        task.space,
        deriver=task.deriver,
        scorer=task.scorer,
        latency=device.predictor,
        budget_ms=budget_ms,
        config=config,
        library=task.library if has_library else None,
        seeds=None if has_library else (),
    )
    curve = curve_of(result)
    if result.best is None:
        return Outcome(None, None, curve, fastest_arch(task.space, device.predictor))
    return Outcome(result.best.arch, task.deriver.derive(result.best.arch), curve)


def curve_of(result: StudyResult) -> tuple[tuple[float, float], ...]:
    """Latency and KL of everything that was scored, in order."""
    return tuple((t.predicted_latency_ms, t.kl) for t in result.trials if t.is_evaluation and t.kl is not None)


def uniform_nuwa(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> Outcome:
    """Uniform widths, derived as NuWa publishes (arXiv 2504.03118): data-free SVD, mean activation, least squares.

    The published method has one knob; here the best by KL of up to ``trials`` uniform archs that fit is taken.
    """
    del seed
    family = list(task.space.uniform_family())
    prediction = device.predictor.predict(family)
    inside = [arch for arch, upper in zip(family, prediction.upper, strict=True) if upper <= budget_ms]
    if not inside:
        return Outcome(None, None, (), family[int(np.argmin(prediction.upper))])
    options = DeriveOptions(svd="weights", ranking="activation", depth_correction=False)
    deriver = Deriver(task.teacher, task.tensors.train, task.tensors.preprocess, options=options)
    slowest_first = np.argsort(-device.predictor.predict(inside).value, kind="stable")[:trials]
    models = [(inside[int(k)], deriver.derive(inside[int(k)])) for k in slowest_first]
    kls = [task.scorer.score(model).kl for _, model in models]
    best = int(np.argmin(kls))
    times = device.predictor.predict([arch for arch, _ in models]).value.tolist()
    return Outcome(models[best][0], models[best][1], tuple(zip(times, kls, strict=True)))


def random_search(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> Outcome:
    """Random archs; those that do not fit are narrowed at random until they do."""
    return unaided("random", repair=True)(task, device, budget_ms, trials, seed)


def torch_pruning(task: TaskSetting, device: DeviceSetting, budget_ms: float, trials: int, seed: int) -> Outcome:
    """Torch-Pruning by Taylor importance, widths cut until the device measures the budget (at most 8 bisections)."""
    from benchmarks.derive_torch_pruning import prune_to, restricted_timm, taylor_gradients  # loads torch_pruning

    del trials, seed
    model = restricted_timm(ASSETS_DIR / "base", task.classes)
    gradients = taylor_gradients(model, task.tensors.train, task.tensors.preprocess)
    full = count_macs(task.teacher.arch)

    def cut(share: float) -> PlainViT:
        return prune_to(model, int(share * full), importance="taylor", gradients=gradients, with_stream=False)

    low, high = LEAST_MAC_SHARE, 1.0
    best = cut(low)
    if device.measure(best.arch) > budget_ms:
        return Outcome(None, None, (), best.arch)
    for _ in range(8):
        share = (low + high) / 2
        found = cut(share)
        if device.measure(found.arch) <= budget_ms:
            best, low = found, share
        else:
            high = share
    return Outcome(best.arch, best)


METHODS: dict[str, Method] = {
    "ours": ours,
    "uniform": uniform_nuwa,
    "random": random_search,
    "nsga2": unaided("nsga2", repair=False),
    "tpe": unaided("tpe", repair=False),
    "torch-pruning": torch_pruning,
}
