"""Scoring on a Ray cluster: one task per subnet, retried where its node dies, given out again where it lags."""

import statistics
import time
from types import TracebackType
from typing import Any, Self

import ray

from nuwa_search.core.arch import Arch
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.node_work import NodeTask, begin, score_held
from nuwa_search.search.executor.program import this_program
from nuwa_search.search.executor.ray_cluster import ABSENT_S, POLL_S, Cluster, value_of
from nuwa_search.search.scorer import Scorer, SubnetDeriver
from nuwa_search.search.workers import Evaluation

MAX_RETRIES = 5
"""By Ray, where a node or a process dies: a task that kills five processes would kill the sixth."""
BATCH_PER_CPU = 2
"""Subnets in flight per core: while the oldest is waited for, every core has a next one."""
STRAGGLER_FACTOR = 3.0
STRAGGLER_MIN_S = 5.0
"""A subnet that alone is waited for is given out a second time after three times the usual seconds, and at least so
many: starting a process for it may take as long."""
MIN_TO_TELL = 3
"""Scores before it is known what is usual."""
SCORE = Needs("scoring a subnet", cpus=1)


class RayScoring:
    """Scores subnets on every core of a cluster; deriver and scorer lie in its object store once.

    Args:
        cluster: Connected.
        deriver: Cuts the subnets; travels with its statistics.
        scorer: Scores them; travels with its images.
    """

    def __init__(self, cluster: Cluster, deriver: SubnetDeriver, scorer: Scorer) -> None:
        self.cluster = cluster
        self.seconds: list[float] = []
        self.in_flight: list[RayPending] = []
        self._pair = (deriver, scorer)
        self._held: Any = None
        self._task = NodeTask(this_program(), threads=SCORE.cpus)

    def __enter__(self) -> Self:
        self.cluster.require_able(SCORE)
        self._held = ray.put(self._pair)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing is cancelled: a task that ends at that moment makes Ray 2.60 abort this process ("Tried to complete
        # task that was not pending"). What is in flight is some seconds of work, and ends with the connection.
        self._held = None

    @property
    def usual_batch(self) -> int:
        return max(1, BATCH_PER_CPU * self.cluster.num_cpus)

    def submit(self, arch: Arch, *, give_up_above: float | None) -> "RayPending":
        pending = RayPending(self, arch, give_up_above)
        self.in_flight.append(pending)
        return pending

    def give_out(self, arch: Arch, give_up_above: float | None) -> Any:
        """Start one attempt at a subnet; the reference to its score."""
        task = ray.remote(score_on_node).options(
            num_cpus=SCORE.cpus, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD", name="nuwa score"
        )
        # in a list: Ray would fetch a bare reference for every task, and a process holds the pair already
        return task.remote([self._held], self._task, arch, give_up_above)


class RayPending:
    """One subnet's score: of the attempt that is done first."""

    def __init__(self, scoring: RayScoring, arch: Arch, give_up_above: float | None) -> None:
        self._scoring = scoring
        self._asked = (arch, give_up_above)
        self.refs = [scoring.give_out(arch, give_up_above)]
        self._alone_since: float | None = None
        self._absent_since: float | None = None

    def result(self) -> Evaluation:
        """Wait for the score; one that lags behind all others is given out again.

        Raises:
            NuwaError: If a node is not this program, or the subnet cannot be scored anywhere.
            OutsideError: If it was lost each time, or no node is left.
        """
        while True:
            done, _ = ray.wait(self.refs, num_returns=1, timeout=POLL_S)
            if done:
                break
            self._look()
        found: Evaluation = value_of(done[0], what=SCORE.what)
        self._scoring.in_flight.remove(self)
        self._scoring.seconds.append(found.seconds)
        return found

    def _look(self) -> None:
        """See who is there, and whether this subnet lags."""
        scoring, now = self._scoring, time.monotonic()
        if any(node.has(SCORE) for node in scoring.cluster.look()):
            self._absent_since = None
        else:
            self._absent_since = self._absent_since or now
            if now - self._absent_since > ABSENT_S:
                scoring.cluster.require_able(SCORE)
        others = [ref for pending in scoring.in_flight if pending is not self for ref in pending.refs[:1]]
        open_refs = ray.wait(others, num_returns=len(others), timeout=0)[1] if others else []
        if open_refs or len(scoring.seconds) < MIN_TO_TELL:
            return
        self._alone_since = self._alone_since or now
        patience_s = max(STRAGGLER_MIN_S, STRAGGLER_FACTOR * statistics.median(scoring.seconds))
        if len(self.refs) == 1 and now - self._alone_since > patience_s:
            self.refs.append(scoring.give_out(*self._asked))


def score_on_node(held: list[Any], task: NodeTask, arch: Arch, give_up_above: float | None) -> Evaluation:
    """Score one subnet where Ray put this task.

    Args:
        held: The reference to deriver and scorer, alone.
        task: Whom it is for.
        arch: Subnet to cut.
        give_up_above: As of ``evaluate``.
    """
    begin(task, ray.util.get_node_ip_address())
    return score_held(held[0].hex(), lambda: ray.get(held[0]), arch, give_up_above=give_up_above)
