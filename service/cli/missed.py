"""How commands end where a measured bundle does not keep its budget."""

from nuwa_search.core.budget import Verdict
from nuwa_search.core.errors import NoAnswerError

_FLAGS = {"latency": "--budget-ms", "memory": "--max-memory-mb"}


def missed_budget(what: str, verdict: Verdict) -> NoAnswerError:
    """Name the limits that were exceeded, and the settings of a search that finds a smaller subnet.

    Args:
        what: The sentence so far, such as ``the export for jetson-nano misses its budget``.
        verdict: With at least one excess.
    """
    flags = " and ".join(_FLAGS[excess.limit] for excess in verdict.excesses)
    return NoAnswerError(f"{what}: {verdict.reason}", hint=f"nuwa-search with a lower {flags} finds a smaller subnet")
