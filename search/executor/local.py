"""The work of a search in this process; scoring in several on this machine where that is asked for."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from nuwa_search.core.transport import Transport
from nuwa_search.search.executor.executor import Result, Scoring
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.scorer import Scorer, SubnetDeriver
from nuwa_search.search.workers import Workers


class LocalExecutor:
    """Runs everything here."""

    def scoring(self, deriver: SubnetDeriver, scorer: Scorer, *, num_workers: int) -> AbstractContextManager[Scoring]:
        return Workers(deriver, scorer, num_workers=num_workers)

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    def reach(self, board: str, address: str) -> Transport | None:  # noqa: ARG002 - from here
        return None

    @property
    def gpus(self) -> int:
        return 0

    def call(
        self,
        work: Callable[..., Result],
        *,
        needs: Needs,  # noqa: ARG002 - this machine is all there is
        progress: Callable[..., object] | None = None,
    ) -> Result:
        return work() if progress is None else work(progress=progress)
