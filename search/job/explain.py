"""Why this arch, in words: what each cut saves and costs, and what other budgets would buy."""

from collections.abc import Sequence
from pathlib import Path

from nuwa_search.predictors.accuracy import prior_from_library
from nuwa_search.search.explain import Explanation, OtherBudget, explain
from nuwa_search.search.job.settle import Settled
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.picture import draw_front
from nuwa_search.search.seeds import additive_fronts
from nuwa_search.search.trials import StudyResult


def explanation_of(settled: Settled, surveys: Sequence[Survey]) -> str:
    """Explain the winner of a search on each device by itself, the other devices' budgets left aside."""
    prior = prior_from_library(settled.space.base, settled.library.archs, settled.library.kls)
    parts = []
    for survey, promise in zip(surveys, settled.repaired.promises, strict=True):
        latency = promise.latency
        fronts = additive_fronts(settled.space, prior=prior, latency=latency)
        told = explain(
            settled.study,
            space=settled.space,
            prior=prior,
            latency=latency,
            budget_ms=survey.budget.ms,
            fronts=fronts,
        )
        parts.append(words_from(told) if len(surveys) == 1 else f"on {survey.spec.name}: {words_from(told)}")
    return "\n".join(parts)


def words_from(told: Explanation) -> str:
    """Render an explanation as text."""
    lines = [
        "why this arch: what each cut saves, and costs in KL to the base (in the winner / alone)",
        *(
            f"  {cut.saved_ms:6.2f} ms  {cut.kl:+.4f} / {cut.alone_kl:.4f}  {cut.place}: {cut.what}"
            for cut in told.cuts
        ),
        "other budgets (KL of the best scored subnet; what the accuracy predictor promises)",
        *(f"  {_words_of(other)}" for other in told.other_budgets),
    ]
    return "\n".join(lines)


def _words_of(other: OtherBudget) -> str:
    scored = "none scored" if other.trial is None or other.trial.kl is None else f"KL {other.trial.kl:.4f}"
    promised = "nothing fits" if other.promised_kl is None else f"KL {other.promised_kl:.4f} promised"
    return f"{other.budget_ms:.2f} ms: {scored}; {promised}"


def picture_of(study: StudyResult, path: Path, *, budget_ms: float, title: str) -> None:
    """Draw the scored subnets and their front.

    Args:
        study: Scored subnets and their front.
        path: File to write; its suffix chooses the format (.png, .svg or .pdf).
        budget_ms: Latency budget in milliseconds, drawn as a line.
        title: Title of the picture.
    """
    draw_front(study, path, budget_ms=budget_ms, title=title)
