"""Say before any image is decoded that nothing can fit, where the promises alone tell it."""

import math
from collections.abc import Sequence

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.feasible import BudgetTooSmallError, Limits, MemoryLimit, require_feasible
from nuwa_search.search.keep import search_space
from nuwa_search.search.repair import Promises
from nuwa_search.search.space import space_from_base
from nuwa_search.service.workflow.inputs import Sources
from nuwa_search.service.workflow.survey import Survey


def require_reachable(survey: Survey, sources: Sources, *, keep: Sequence[str]) -> None:
    """Hold the fastest and the smallest subnet of the base against the limits; needs no image and no statistics.

    A base without a head may come to read its stream in several ways: nothing fits only where nothing fits in any.

    Args:
        survey: The device with its predictor and budget.
        sources: The base.
        keep: Globs over the parts that are not cut.

    Raises:
        BudgetTooSmallError: If nothing in the space fits.
        NuwaError: If memory is limited and the device does not tell it.
    """
    refusals: list[BudgetTooSmallError] = []
    for arch in sources.teacher_archs:
        promises = survey.promises(arch)
        try:
            require_feasible(search_space(arch, keep=keep), _limits(promises, survey.budget))
        except BudgetTooSmallError as error:
            refusals.append(told_in_budget(error, survey.budget, promises=promises, base=arch, keep=keep))
        else:
            return
    raise min(refusals, key=lambda refusal: refusal.upper_ms)


def _limits(promises: Promises[LatencyPredictor], budget: Budget) -> Limits:
    limit_ms = budget.median_limit_ms(promises.tail)
    return Limits(promises.latency, limit_ms, memory=memory_limit(budget, promises))


def memory_limit(budget: Budget, promises: Promises[LatencyPredictor]) -> MemoryLimit | None:
    """Make the study's second limit; None where memory is not limited."""
    if budget.max_memory_mb is None or promises.memory is None:
        return None
    return MemoryLimit(budget.max_memory_mb, promises.memory.predict_mb)


def told_in_budget(
    error: BudgetTooSmallError,
    budget: Budget,
    *,
    promises: Promises[LatencyPredictor],
    base: Arch,
    keep: Sequence[str],
) -> BudgetTooSmallError:
    """Say of a limit on predicted medians, which leaves room for noise, what it means for the budget that was given.

    Args:
        error: What the search space said.
        budget: That was given.
        promises: That were held against it.
        base: What is cut.
        keep: Globs over the parts that are not: whether they stand in the way is said.
    """
    if error.limit == "latency":
        limit_ms = budget.median_limit_ms(promises.tail)
        least_ms = error.upper_ms * budget.ms / limit_ms
        error = error.told(
            f"no subnet fits {budget.ms:g} ms ({budget.statistic}): the fastest reachable is predicted at "
            f"{error.predicted_latency_ms:.2f} ms (up to {error.upper_ms:.2f} ms), and to leave room for noise at most "
            f"{limit_ms:.3g} ms may be predicted",
            hint=f"give a budget of at least {math.ceil(least_ms * 10) / 10:g} ms, or another base",
        )
    if not keep:
        return error
    limits, kept = _limits(promises, budget), f"--keep {' '.join(keep)}"
    try:
        fastest = require_feasible(space_from_base(base), limits)
    except BudgetTooSmallError:
        return error.told(f"{error.message}; without {kept} nothing would fit either", hint=error.hint)
    reached_ms = float(promises.latency.predict([fastest]).value[0])
    return error.told(
        f"{error.message}; {kept} stands in the way: without it the fastest is predicted at {reached_ms:.2f} ms",
        hint=f"keep fewer parts, or {error.hint}",
    )
