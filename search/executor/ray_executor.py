"""The work of a search on the nodes of a Ray cluster: Ray spreads it, retries it, and carries what it needs."""

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from nuwa_search.core.counting import count, counts_to
from nuwa_search.core.transport import Transport
from nuwa_search.deploy.train.sender import Sender
from nuwa_search.search.executor.executor import Result, Scoring
from nuwa_search.search.executor.mailbox import Mailbox
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.node_work import NodeTask, begin
from nuwa_search.search.executor.program import this_program
from nuwa_search.search.executor.ray_cluster import ABSENT_S, POLL_S, Cluster, value_of
from nuwa_search.search.executor.ray_scoring import MAX_RETRIES, RayScoring
from nuwa_search.search.executor.ray_transport import PLACE_SHARE, RayTransport, ssh_transport
from nuwa_search.search.scorer import Scorer, SubnetDeriver

LAST_WORDS_S = 5.0
"""For the last messages of a piece of work to arrive, once it is done: they are worth no more."""
CANCEL_S = 45.0
"""After Ctrl-C, for work that is cancelled to save what it has done: longer than ``GRACE_S`` of its processes."""


class RayExecutor:
    """Hands work to a cluster that this process is connected to.

    Args:
        cluster: Connected.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._mailbox: Any = None
        self._asked: Any = None

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

    @property
    def gpus(self) -> int:
        return max((int(node.resources.get("GPU", 0.0)) for node in self._cluster.nodes()), default=0)

    def call(
        self, work: Callable[..., Result], *, needs: Needs, progress: Callable[..., object] | None = None
    ) -> Result:
        self._cluster.require_able(needs)
        task = NodeTask(this_program(), threads=max(1, needs.cpus))
        options = {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "resources": dict.fromkeys(needs.places, PLACE_SHARE),
            "max_retries": MAX_RETRIES,
            "name": f"nuwa {needs.what}",
        }
        if self._mailbox is None:
            self._mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()
        ref = ray.remote(run_on_node).options(**options).remote(task, work, self._mailbox, progress is not None)
        absent_since: float | None = None
        try:
            while not ray.wait([ref], timeout=POLL_S)[0]:
                self._hear(progress, wait_s=0.0)
                is_able = any(node.has(needs) for node in self._cluster.look())
                absent_since = None if is_able else absent_since or time.monotonic()
                if absent_since is not None and time.monotonic() - absent_since > ABSENT_S:
                    self._cluster.require_able(needs)
        except BaseException:
            ray.cancel(ref, force=False)
            ray.wait([ref], timeout=CANCEL_S)  # it writes what it goes on from
            raise
        found: Result = value_of(ref, what=needs.what)
        for _ in range(2):  # what was asked for before the end, and what came after that
            self._hear(progress, wait_s=LAST_WORDS_S)
        return found

    def _hear(self, progress: Callable[..., object] | None, *, wait_s: float) -> None:
        """Pass on what the work told; a mailbox that died with its node tells nothing more."""
        if self._mailbox is None:
            return
        if self._asked is None:
            self._asked = self._mailbox.take.remote()
        if not ray.wait([self._asked], timeout=wait_s)[0]:
            return  # the same answer is looked for again: another would be without what is on its way
        asked, self._asked = self._asked, None
        try:
            messages = ray.get(asked)
        except RayError:
            self._mailbox = None
            return
        for name, values in messages:
            if name == "count":
                count(*values)
            elif progress is not None:
                progress(*values)


def run_on_node(task: NodeTask, work: Callable[..., Result], mailbox: Any, tells_progress: bool) -> Result:
    """Run a piece of work where Ray put this task.

    Args:
        task: Whom it is for.
        work: Takes ``progress`` where that is told, else nothing.
        mailbox: Actor that takes what is told on the way.
        tells_progress: Whether somebody waits for progress.
    """
    begin(task, ray.util.get_node_ip_address())
    sender = Sender(mailbox.put.remote)
    with counts_to(sender.count):
        found = work(progress=sender.progress) if tells_progress else work()
    if sender.last is not None:
        ray.wait([sender.last], timeout=LAST_WORDS_S)
    return found
