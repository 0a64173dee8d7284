"""Open what a search runs on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.local import LocalExecutor
from nuwa_search.search.executor_name import ExecutorName


def require_executor(name: ExecutorName) -> None:
    """Refuse an executor whose library is not installed, before anything is opened.

    Raises:
        NuwaError: If it is not.
    """
    if name == "ray" and find_spec("ray") is None:
        raise NuwaError("--executor ray needs Ray, which is not installed", hint="pip install 'nuwa-search[ray]'")


@contextmanager
def opened_executor(name: ExecutorName, *, address: str | None, say: Callable[[str], None]) -> Iterator[Executor]:
    """Connect to what the work runs on, for the length of a block.

    Args:
        name: Of the executor.
        address: Of a Ray cluster; None for the one on this machine, or one that is started for the block.
        say: Told in sentences what was found, and which nodes leave or join.

    Raises:
        NuwaError: If its library is missing, or a node has another version of this program.
        OutsideError: If there is no cluster at ``address``.
    """
    if name == "local":
        if address is not None:
            say(f"the Ray cluster at {address} is not used: the search runs on this machine, without --executor ray")
        yield LocalExecutor()
        return
    require_executor(name)
    from nuwa_search.search.executor.ray_cluster import connected
    from nuwa_search.search.executor.ray_executor import RayExecutor

    with connected(address, say=say) as cluster:
        yield RayExecutor(cluster)
