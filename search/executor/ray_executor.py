"""The work of a search on the nodes of a Ray cluster: Ray spreads it, retries it, and carries what it needs."""

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import ray
import torch

from nuwa_search.core.transport import Transport
from nuwa_search.search.executor.executor import Result, Scoring
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.node_work import NodeTask, begin
from nuwa_search.search.executor.program import this_program
from nuwa_search.search.executor.ray_cluster import ABSENT_S, POLL_S, Cluster, value_of
from nuwa_search.search.executor.ray_scoring import MAX_RETRIES, RayScoring
from nuwa_search.search.executor.ray_transport import PLACE_SHARE, RayTransport, ssh_transport
from nuwa_search.search.scorer import Scorer, SubnetDeriver


class RayExecutor:
    """Hands work to a cluster that this process is connected to.

    Args:
        cluster: Connected.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def scoring(
        self,
        deriver: SubnetDeriver,
        scorer: Scorer,
        *,
        num_workers: int,  # noqa: ARG002 - of one machine; here every core of every node works
    ) -> AbstractContextManager[Scoring]:
        return RayScoring(self._cluster, deriver, scorer)

    @property
    def threads(self) -> int:
        most = max((node.resources.get("CPU", 0.0) for node in self._cluster.nodes()), default=1.0)
        return max(1, min(torch.get_num_threads(), int(most)))

    def reach(self, board: str, address: str) -> Transport | None:
        needs = Needs(f"reaching {board}", cpus=0, board=board)
        if not any(node.has(needs) for node in self._cluster.nodes()):
            self._cluster.say(f"{board}: no node declares {needs.words}, so it is reached from this machine")
            return None
        make = functools.partial(ssh_transport, address)
        return RayTransport(self._cluster, board=board, address=address, make=make)

    def call(self, work: Callable[[], Result], *, needs: Needs) -> Result:
        self._cluster.require_able(needs)
        task = NodeTask(this_program(), threads=max(1, needs.cpus))
        options = {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "resources": dict.fromkeys(needs.places, PLACE_SHARE),
            "max_retries": MAX_RETRIES,
            "name": f"nuwa {needs.what}",
        }
        ref = ray.remote(run_on_node).options(**options).remote(task, work)
        absent_since: float | None = None
        try:
            while not ray.wait([ref], timeout=POLL_S)[0]:
                is_able = any(node.has(needs) for node in self._cluster.look())
                absent_since = None if is_able else absent_since or time.monotonic()
                if absent_since is not None and time.monotonic() - absent_since > ABSENT_S:
                    self._cluster.require_able(needs)
        except BaseException:
            ray.cancel(ref, force=False)
            raise
        found: Result = value_of(ref, what=needs.what)
        return found


def run_on_node(task: NodeTask, work: Callable[[], Result]) -> Result:
    """Run a piece of work where Ray put this task.

    Args:
        task: Whom it is for.
        work: Without arguments.
    """
    begin(task, ray.util.get_node_ip_address())
    return work()
