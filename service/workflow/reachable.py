"""Say before any image is decoded that nothing can fit, where the promises alone tell it."""

import math

from nuwa_search.core.budget import Budget
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.feasible import BudgetTooSmallError, Limits, MemoryLimit, require_feasible
from nuwa_search.search.repair import Promises
from nuwa_search.search.space import space_from_base
from nuwa_search.service.workflow.inputs import Sources
from nuwa_search.service.workflow.survey import Survey


def require_reachable(survey: Survey, sources: Sources) -> None:
    """Hold the fastest and the smallest subnet of the base against the limits; needs no image and no statistics.

    A base without a head may come to read its stream in several ways: nothing fits only where nothing fits in any.

    Raises:
        BudgetTooSmallError: If nothing in the space fits.
        NuwaError: If memory is limited and the device does not tell it.
    """
    refusals: list[BudgetTooSmallError] = []
    for arch in sources.teacher_archs:
        promises = survey.promises(arch)
        limits = Limits(
            promises.latency,
            survey.budget.median_limit_ms(promises.tail),
            memory=memory_limit(survey.budget, promises),
        )
        try:
            require_feasible(space_from_base(arch), limits)
        except BudgetTooSmallError as error:
            refusals.append(told_in_budget(error, survey.budget, tail=promises.tail))
        else:
            return
    raise min(refusals, key=lambda refusal: refusal.upper_ms)


def memory_limit(budget: Budget, promises: Promises[LatencyPredictor]) -> MemoryLimit | None:
    """Make the study's second limit; None where memory is not limited."""
    if budget.max_memory_mb is None or promises.memory is None:
        return None
    return MemoryLimit(budget.max_memory_mb, promises.memory.predict_mb)


def told_in_budget(error: BudgetTooSmallError, budget: Budget, *, tail: float) -> BudgetTooSmallError:
    """Say of a limit on predicted medians, which leaves room for noise, what it means for the budget that was given."""
    if error.limit != "latency":
        return error
    limit_ms = budget.median_limit_ms(tail)
    least_ms = error.upper_ms * budget.ms / limit_ms
    return BudgetTooSmallError(
        f"no subnet fits {budget.ms:g} ms ({budget.statistic}): the fastest reachable is predicted at "
        f"{error.predicted_latency_ms:.2f} ms (up to {error.upper_ms:.2f} ms), and to leave room for noise at most "
        f"{limit_ms:.3g} ms may be predicted",
        fastest=error.fastest,
        predicted_latency_ms=error.predicted_latency_ms,
        upper_ms=error.upper_ms,
        hint=f"give a budget of at least {math.ceil(least_ms * 10) / 10:g} ms, or another base",
    )
