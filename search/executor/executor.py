"""What a search hands its work to."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from nuwa_search.core.arch import Arch
from nuwa_search.core.transport import Transport
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.scorer import Scorer, SubnetDeriver
from nuwa_search.search.workers import Evaluation

Result = TypeVar("Result")


class PendingScore(Protocol):
    """A subnet's score that may not be there yet; a ``Future`` is one."""

    def result(self) -> Evaluation:
        """Wait for it.

        Raises:
            NuwaError: If it cannot be had: a wrong use, or every attempt at it was lost.
        """
        ...


class Scoring(Protocol):
    """Derives and scores subnets with one deriver and one scorer."""

    @property
    def usual_batch(self) -> int:
        """Subnets in flight that keep everything busy: what a study takes where none is asked for."""
        ...

    def submit(self, arch: Arch, *, give_up_above: float | None) -> PendingScore:
        """Start on a subnet; arguments as of ``evaluate``."""
        ...


class Executor(Protocol):
    """Where the work of a search runs. The same work gives the same answers wherever it does."""

    def scoring(self, deriver: SubnetDeriver, scorer: Scorer, *, num_workers: int) -> AbstractContextManager[Scoring]:
        """Hold deriver and scorer where subnets are scored.

        Args:
            deriver: Cuts subnets out of the base.
            scorer: Scores them on the search split.
            num_workers: Processes of this machine; a cluster has as many as it has cores.
        """
        ...

    @property
    def threads(self) -> int:
        """Threads of a piece of work that is alone: this process's, or fewer where no machine has so many."""
        ...

    def reach(self, board: str, address: str) -> Transport | None:
        """Find the way to a board over SSH: through the node that declares it; None goes there from this machine.

        Args:
            board: Its name.
            address: Its address as registered, for the node that reaches it.
        """
        ...

    @property
    def gpus(self) -> int:
        """GPUs that the largest node declares; 0 where none is given out: the work then takes what its machine has."""
        ...

    def call(
        self, work: Callable[..., Result], *, needs: Needs, progress: Callable[..., object] | None = None
    ) -> Result:
        """Run one piece of work and wait for what it returns; what its loops count is counted here too.

        Args:
            work: Can be pickled with what it holds, as ``functools.partial`` of a function of a module can. Takes
                ``progress`` where that is given.
            needs: What must be free where it runs.
            progress: Called in this process with what the work tells; some of it, where it is told very often.

        Raises:
            OutsideError: If every attempt at it was lost.
        """
        ...
