"""What runs on a node of a cluster; it knows of Ray only that its arguments may lie in Ray's object store."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from nuwa_search.core.allocator import keep_freed_memory
from nuwa_search.core.arch import Arch
from nuwa_search.search.executor.program import Program, require_same, this_program
from nuwa_search.search.scorer import Scorer, SubnetDeriver
from nuwa_search.search.workers import Evaluation, evaluate

Result = TypeVar("Result")
_HELD: dict[str, tuple[SubnetDeriver, Scorer]] = {}  # of the study that this process scores for


@dataclass(frozen=True)
class NodeTask:
    """What every piece of work on a node starts with.

    Args:
        program: Of the machine that gives the work out.
        threads: Threads that it may compute with.
    """

    program: Program
    threads: int


def begin(task: NodeTask, node: str) -> None:
    """Refuse to work for another program, and take the threads that were declared.

    Args:
        task: As it was given out.
        node: This node's name, for the error.

    Raises:
        NuwaError: If this node has other code.
    """
    require_same(task.program, this_program(), node=node)
    torch.set_num_threads(task.threads)
    keep_freed_memory()


def score_held(
    key: str,
    fetch: Callable[[], tuple[SubnetDeriver, Scorer]],
    arch: Arch,
    *,
    give_up_above: float | None,
) -> Evaluation:
    """Score one arch with deriver and scorer as this process holds them, fetched once for all archs of a study.

    Args:
        key: Identifies the pair.
        fetch: Brings it here.
        arch: Subnet to cut.
        give_up_above: As of ``evaluate``.
    """
    if key not in _HELD:
        _HELD.clear()  # of an earlier study, or an earlier round of this one
        _HELD[key] = fetch()
    deriver, scorer = _HELD[key]
    return evaluate(arch, deriver=deriver, scorer=scorer, give_up_above=give_up_above)
