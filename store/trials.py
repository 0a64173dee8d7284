"""What a study proposed, as our own events tell it: no need of Optuna's tables, or of Optuna in the process."""

from sqlalchemy import select

from nuwa_search.store.database import Database
from nuwa_search.store.records import JsonDict
from nuwa_search.store.tables import EventRow, SearchRow

TRIAL = "trial"
"""Kind of the event that tells of a proposal."""
_COUNTS = ("scored", "wanted")  # how far the search was when the event came: nothing of the proposal's own


class TrialMethods(Database):
    """The store's methods about proposals."""

    def trials(self, study: str) -> list[JsonDict]:
        """Read all proposals of a study, by number.

        Args:
            study: Its name; one that is not recorded has no trials.

        Returns:
            ``number``, ``arch_id``, ``state``, ``origin``, ``predicted_latency_ms``,
            ``predicted_interval_ms``, ``kl``, ``kl_first``, ``top1_search``, ``num_images``, ``seconds``
            and ``reason`` of each.
        """
        query = (
            select(EventRow.payload)
            .join(SearchRow, SearchRow.pk == EventRow.search_pk)
            .where(SearchRow.study == study, EventRow.kind == TRIAL)
            .order_by(EventRow.pk)
        )
        with self.read() as connection:
            told: list[JsonDict] = list(connection.execute(query).scalars())
        # an event without a state is a note of another program: it says nothing of what became of a proposal
        found = {event["number"]: event for event in told if "state" in event}
        return [{k: v for k, v in found[number].items() if k not in _COUNTS} for number in sorted(found)]
