"""Keep a claim on a study alive while its owner is busy with something long."""

import logging

from nuwa_search.core.background import BackgroundTask
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.owners import HEARTBEAT_S
from nuwa_search.store.records import Claim
from nuwa_search.store.searches import SearchMethods

logger = logging.getLogger(__name__)


class Heartbeat(BackgroundTask):
    """Beat from a thread of its own for as long as the ``with`` block lasts.

    ``is_lost`` turns True when another process has taken the study over; the owner then has to stop.

    Args:
        store: The database.
        claim: What to keep alive.
        interval_s: Seconds between beats.
    """

    def __init__(self, store: SearchMethods, claim: Claim, *, interval_s: float = HEARTBEAT_S) -> None:
        super().__init__("nuwa-heartbeat")
        self._store = store
        self._claim = claim
        self._interval_s = interval_s
        self.is_lost = False

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            try:
                self._store.heartbeat(self._claim)
            except NuwaError as error:
                # A locked or unreachable database may come back; a claim that is gone does not.
                self.is_lost = error.exit_code == NuwaError.exit_code
                logger.warning("no heartbeat for study %s: %s", self._claim.study, error.message)
                if self.is_lost:
                    return
