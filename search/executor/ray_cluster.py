"""The connection to a Ray cluster: who is in it, whether they are this program, and who left."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.program import Program, require_same, this_program

POLL_S = 1.0
"""Between two looks at who is still there, while something is waited for."""
PROBE_S = 120.0
"""For a node to say what program it is: a process is started there and Python's imports are read, perhaps from a
network file system."""
ABSENT_S = 60.0
"""Without any node that could do the work before a search gives up: Ray itself takes some 15 s to see one die, and a
node that is started again needs as long to join."""

OWN_CLUSTER = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Of a cluster that is started here, where nothing else is said: it reports to nobody, and its processes are no less
urgent than a search in this process would be. Ray's niceness of 15 left them 5 s of CPU in 5 minutes beside two others
on two cores."""


@dataclass(frozen=True)
class Node:
    """One node that is alive.

    Args:
        node_id: Ray's.
        name: For people: its name and the beginning of its id, as one machine may hold several.
        resources: What it declares in all, by name.
    """

    node_id: str
    name: str
    resources: dict[str, float]

    def has(self, needs: Needs) -> bool:
        """Whether it could do the work if nothing else ran there."""
        is_there = all(self.resources.get(place, 0.0) > 0 for place in needs.places)
        cpus, gpus = self.resources.get("CPU", 0.0), self.resources.get("GPU", 0.0)
        return is_there and cpus >= needs.cpus and gpus >= needs.gpus


class Cluster:
    """A cluster that this process is connected to.

    Args:
        say: Told in a sentence who left or joined.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._known: dict[str, Node] = {}

    def nodes(self) -> list[Node]:
        """List the nodes that are alive, in a fixed order."""
        found = [
            Node(one["NodeID"], f"{one['NodeName']} ({one['NodeID'][:6]})", dict(one["Resources"]))
            for one in ray.nodes()
            if one["Alive"]
        ]
        return sorted(found, key=lambda node: (node.name, node.node_id))

    @property
    def num_cpus(self) -> int:
        """Cores that all nodes declare."""
        return int(sum(node.resources.get("CPU", 0.0) for node in self.nodes()))

    def look(self) -> list[Node]:
        """Say who left and who joined since the last look; those that joined must be this program.

        Raises:
            NuwaError: If one that joined is not.
        """
        now = {node.node_id: node for node in self.nodes()}
        gone = [node for key, node in self._known.items() if key not in now]
        joined = [node for key, node in now.items() if key not in self._known]
        is_first = not self._known
        self._known = now
        for node in gone:
            self.say(f"node {node.name} is gone: what ran there is run elsewhere")
        require_this_program(joined)
        for node in [] if is_first else joined:
            self.say(f"node {node.name} joined")
        return list(now.values())

    def require_able(self, needs: Needs) -> None:
        """Refuse work that no node could do.

        Raises:
            OutsideError: If none declares what it needs.
        """
        nodes = self.nodes()
        if not any(node.has(needs) for node in nodes):
            there = "; ".join(f"{node.name}: {_said_resources(node)}" for node in nodes) or "no node is alive"
            raise OutsideError(
                f"no node of the Ray cluster has {needs.words} for {needs.what} ({there})", hint=needs.start_hint
            )


def _said_resources(node: Node) -> str:
    shown = {name: n for name, n in node.resources.items() if name in ("CPU", "GPU") or name.startswith("board:")}
    return ", ".join(f"{n:g} {name}" for name, n in sorted(shown.items())) or "nothing"


def require_this_program(nodes: list[Node]) -> None:
    """Ask every node which program it has, all at once, and refuse those that have another.

    Raises:
        NuwaError: If a node has none, or another version or other code.
        OutsideError: If a node does not answer.
    """
    ours = this_program()
    asked = [(node, _ask_program(node)) for node in nodes]
    for node, ref in asked:
        try:
            found = ray.get(ref, timeout=PROBE_S)
        except RayError as error:
            raise OutsideError(
                f"node {node.name} of the Ray cluster did not say which nuwa-search it has: {first_line(error)}",
                hint="ray status; ray logs",
            ) from error
        if isinstance(found, str):
            raise NuwaError(
                f"node {node.name} of the Ray cluster has {found}, this machine has {ours.words}",
                hint=f"on {node.name}: pip install nuwa-search=={ours.version}, or take it out with ray stop",
            )
        require_same(ours, Program(*found), node=node.name)


def _ask_program(node: Node) -> Any:
    def program() -> tuple[str, str, str, str] | str:  # no name of a module: it travels by value, to nodes without it
        try:
            from nuwa_search.search.executor.program import this_program as theirs
        except ImportError:
            from importlib import metadata

            try:
                return f"nuwa-search {metadata.version('nuwa-search')}"
            except metadata.PackageNotFoundError:
                return "no nuwa-search"
        found = theirs()
        return found.version, found.files, found.torch, found.python

    where = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return ray.remote(program).options(num_cpus=0, max_retries=1, scheduling_strategy=where).remote()


def value_of(ref: Any, *, what: str) -> Any:
    """Return what a piece of work that is done returned.

    Args:
        ref: Ray's reference to it.
        what: The work, for the error.

    Raises:
        OutsideError: If every attempt at it was lost.
        Exception: What the work itself raised.
    """
    try:
        return ray.get(ref)
    except RayTaskError as error:
        cause = error.cause  # as it would have been raised here
        raise cause if isinstance(cause, Exception) else error from None
    except RayActorError:  # whoever asked an actor knows what to do without it
        raise
    except RayError as error:
        raise OutsideError(
            f"{what} was lost on the Ray cluster, each time it was tried: {first_line(error)}",
            hint="ray status; ray logs",
        ) from error


def first_line(error: BaseException) -> str:
    """Name an error and its first line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")


@contextmanager
def connected(address: str | None, *, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to a cluster for the length of a block; one that this process is connected to already is used as it is.

    Args:
        address: As of ``--ray-address``.
        say: Told what was found, and who leaves or joins.

    Raises:
        NuwaError: If a node has another version of this program, or there is no cluster at ``address``.
    """
    is_ours = not ray.is_initialized()
    with without_prints_of_ray(), contextlib.ExitStack() as stack:
        if is_ours:
            with contextlib.redirect_stdout(sys.stderr), _own_handlers():
                how = _connect(address)
            stack.callback(_disconnect)
        else:
            how = "this process is connected to it already"
        cluster = Cluster(say)
        nodes = cluster.look()
        count = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
        say(f"Ray {ray.__version__}: {count}, {cluster.num_cpus} CPUs ({how})")
        yield cluster


def _connect(address: str | None) -> str:
    for name, value in OWN_CLUSTER.items():
        os.environ.setdefault(name, value)
    settings = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address or "auto", **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is not None:
            raise OutsideError(
                f"there is no Ray cluster at {address}: {first_line(error)}",
                hint="ray start --head starts one; leave --ray-address out for one on this machine alone",
            ) from error
        ray.init(address="local", include_dashboard=False, **settings)
        return "started for this search"
    return f"at {address or 'this machine'}"


def _disconnect() -> None:
    with contextlib.redirect_stdout(sys.stderr), _own_handlers():
        ray.shutdown()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Put SIGTERM's handler back, which ``ray.init`` replaces by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _StdoutWithoutRay(io.TextIOBase):
    """Stdout for everyone but Ray's threads, which print there whatever its logs are set to (Ray 2.60)."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)  # the same stands in Ray's own logs, and `Cluster.look` says it in a sentence
        return cast(int, self.real.write(text))

    def flush(self) -> None:
        self.real.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@contextmanager
def without_prints_of_ray() -> Iterator[None]:
    """Keep what Ray's threads print off stdout, where the answer goes."""
    with contextlib.redirect_stdout(_StdoutWithoutRay(sys.stdout)):
        yield
