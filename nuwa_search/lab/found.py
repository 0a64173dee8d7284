"""What a search found, for people who go on from it in Python."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nuwa_search.core.errors import NoAnswerError
from nuwa_search.lab.table import Table
from nuwa_search.search.result import Delivered, FrontPoint, SearchResult, SubnetPart

if TYPE_CHECKING:
    from nuwa_search.core.arch import Arch
    from nuwa_search.deploy.bundle import Bundle
    from nuwa_search.search.job.search import SearchOutcome

FRONT_COLUMNS = (
    *("subnet_id", "arch_id", "predicted_latency_ms", "predicted_interval_ms", "kl_to_teacher", "top1_search"),
    *("top1_search_interval", "num_images", "derive_command"),
)
"""As ``FrontPoint.to_json`` names them."""


class NoSubnetError(NoAnswerError):
    """The search ran, and no subnet keeps the budget.

    Args:
        error: What the search ended with.
        found: All that it knows: ``found.result.ending`` names the fastest subnet there is.
    """

    def __init__(self, error: NoAnswerError, found: "Found") -> None:
        super().__init__(error.message, hint=error.hint)
        self.found = found


@dataclass(frozen=True)
class Found:
    """A search that was done.

    Args:
        result: The answer; ``result.to_json()`` is the ``nuwa.search/1`` document.
        front_points: Scored subnets that no other one of the study beats in both predicted latency and KL.
        base_arch: Of the base with the task's head; None where nothing is shipped.
        explanation: Why this arch, in sentences; empty unless ``explain=True`` was asked for.
    """

    result: SearchResult
    front_points: tuple[FrontPoint, ...]
    base_arch: "Arch | None"
    explanation: str = ""

    @property
    def study(self) -> str:
        """Name of the study: ``lab.search(study=…, resume=True)`` goes on with it."""
        return self.result.study

    @property
    def winner(self) -> SubnetPart:
        """What is shipped: arch, ids, predicted and measured latency, accuracies on the test split.

        Raises:
            NoAnswerError: If nothing is.
        """
        return self._delivered().subnet

    @property
    def bundle(self) -> "Bundle":
        """The bundle as it was written; that of the first device where there are several.

        Raises:
            NoAnswerError: If nothing is shipped.
        """
        return self._delivered().bundles[0]

    @property
    def front(self) -> Table:
        """The front of the study as rows: what another budget would buy."""
        rows = [point.to_json() for point in self.front_points]
        return Table("front", rows, rows, FRONT_COLUMNS)

    def to_json(self) -> dict[str, Any]:
        """Render the ``nuwa.search/1`` document."""
        return self.result.to_json()

    def _delivered(self) -> Delivered:
        ending = self.result.ending
        if not isinstance(ending, Delivered):
            raise NoAnswerError(f"study {self.study} shipped nothing", hint="give a larger budget_ms")
        return ending


def found_from_outcome(outcome: "SearchOutcome") -> Found:
    """Take what a search left; the answer `no` is raised.

    Raises:
        NoSubnetError: If no subnet keeps the budget.
    """
    found = Found(outcome.result, outcome.front, outcome.base_arch, outcome.explanation)
    if isinstance(outcome.error, NoAnswerError):
        raise NoSubnetError(outcome.error, found) from outcome.error
    if outcome.error is not None:
        raise outcome.error
    return found
