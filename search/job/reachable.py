"""Check, before any image is decoded, whether any subnet can fit by prediction."""

import math
from collections.abc import Sequence

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.img_size import ImgSize
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.feasible import BudgetTooSmallError, DeviceLimit, Limits, MemoryLimit, require_feasible
from nuwa_search.search.job.inputs import Sources
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.keep import search_space
from nuwa_search.search.repair import Promises
from nuwa_search.search.space import space_from_base


def require_reachable(
    surveys: Sequence[Survey], sources: Sources, *, keep: Sequence[str], img_sizes: Sequence[ImgSize] = ()
) -> None:
    """Check the fastest and the smallest subnet of the base against the limits; needs no image and no statistics.

    A base without a head may come to read its stream in several ways: nothing fits only where nothing fits in any.

    Args:
        surveys: Each device with its predictor and budget.
        sources: The base.
        keep: Globs over the parts that are not cut.
        img_sizes: Image sizes to choose among beside the base's own.

    Raises:
        BudgetTooSmallError: If nothing in the space fits.
        NuwaError: If memory is limited and a device does not tell it.
    """
    refusals: list[BudgetTooSmallError] = []
    budgets = [survey.budget for survey in surveys]
    for arch in sources.teacher_archs:
        promises = [survey.promises(arch) for survey in surveys]
        limits = limits_of(promises, budgets, devices=sources.devices)
        try:
            require_feasible(search_space(arch, keep=keep, img_sizes=img_sizes), limits)
        except BudgetTooSmallError as error:
            refusals.append(told_in_budgets(error, budgets, limits=limits, base=arch, keep=keep))
        else:
            return
    raise min(refusals, key=lambda refusal: refusal.upper_ms)


def limits_of(
    promises: Sequence[Promises[LatencyPredictor]], budgets: Sequence[Budget], *, devices: Sequence[DeviceSpec]
) -> Limits:
    """Make the limits that a study holds its proposals against; the limit of memory is that of every device."""
    limits_ms = [budget.median_limit_ms(promise.tail) for promise, budget in zip(promises, budgets, strict=True)]
    rest = list(zip(devices, promises, limits_ms, strict=True))[1:]
    return Limits(
        promises[0].latency,
        limits_ms[0],
        memory=_memory_limit(budgets[0], promises),
        device=devices[0].name,
        others=[DeviceLimit(spec.name, promise.latency, limit_ms) for spec, promise, limit_ms in rest],
    )


def _memory_limit(budget: Budget, promises: Sequence[Promises[LatencyPredictor]]) -> MemoryLimit | None:
    """Make the study's second limit, on the device where an arch takes most; None where memory is not limited."""
    estimates = [promise.memory.predict_mb for promise in promises if promise.memory is not None]
    if budget.max_memory_mb is None or not estimates:
        return None
    return MemoryLimit(budget.max_memory_mb, lambda archs: np.max([one(archs) for one in estimates], axis=0))


def told_in_budgets(
    error: BudgetTooSmallError, budgets: Sequence[Budget], *, limits: Limits, base: Arch, keep: Sequence[str]
) -> BudgetTooSmallError:
    """Rewrite an error about limits on predicted medians in terms of the budgets that were given.

    Args:
        error: Error with limits on predicted medians.
        budgets: Budgets of the request, one per device.
        limits: Limits that nothing keeps.
        base: Base that is cut.
        keep: Globs over the parts that are not: whether they stand in the way is said.
    """
    if error.limit == "latency":
        error = _told_of_latency(error, budgets, limits)
    if not keep:
        return error
    kept = f"--keep {' '.join(keep)}"
    try:
        fastest = require_feasible(space_from_base(base), limits)
    except BudgetTooSmallError:
        return error.told(f"{error.message}; without {kept} nothing would fit either", hint=error.hint)
    reached = [float(one.latency.predict([fastest]).value[0]) for one in limits.by_device]
    said = " and ".join(f"{ms:.2f} ms" for ms in reached)
    return error.told(
        f"{error.message}; {kept} stands in the way: without it the fastest is predicted at {said}",
        hint=f"keep fewer parts, or {error.hint}",
    )


def _told_of_latency(error: BudgetTooSmallError, budgets: Sequence[Budget], limits: Limits) -> BudgetTooSmallError:
    """Write an error with what was wanted and found on each device, and the least budgets that would do, in ms."""
    if not error.by_device:
        limit_ms, budget = limits.by_device[0].budget_ms, budgets[0]
        least_ms = error.upper_ms * budget.ms / limit_ms
        return error.told(
            f"no subnet fits {budget.ms:g} ms ({budget.statistic}): the fastest reachable is predicted at "
            f"{error.predicted_latency_ms:.2f} ms (up to {error.upper_ms:.2f} ms), and to leave room for noise at most "
            f"{limit_ms:.3g} ms may be predicted",
            hint=f"give a budget of at least {_rounded_up(least_ms):g} ms, or another base",
        )
    both = list(zip(error.nearest or error.by_device, budgets, strict=True))
    least = " ".join(
        f"--budget-ms {max(budget.ms, _rounded_up(one.upper_ms * budget.ms / one.budget_ms)):g}@{one.device}"
        for one, budget in both
    )
    short = [(one, budget) for one, budget in both if not one.is_enough]
    said = "; ".join(
        f"no subnet fits {budget.ms:g} ms ({budget.statistic}) on {one.device}: the fastest reachable there is "
        f"predicted at {one.predicted_latency_ms:.2f} ms (up to {one.upper_ms:.2f} ms), and to leave room for noise at "
        f"most {one.budget_ms:.3g} ms may be predicted"
        for one, budget in short
    )
    if error.nearest:
        wanted = " and ".join(f"{budget.ms:g} ms on {one.device}" for one, budget in both)
        nearest = " and ".join(f"{one.predicted_latency_ms:.2f} ms (up to {one.upper_ms:.2f} ms)" for one, _ in both)
        said = (
            f"each budget can be met alone, but no subnet was found that meets {wanted} together: the nearest is "
            f"predicted at {nearest}"
        )
    return error.told(said, hint=f"give at least {least}, or another base")


def _rounded_up(ms: float) -> float:
    return math.ceil(ms * 10) / 10
