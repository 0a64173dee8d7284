"""What every step of one search is handed."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.clock import StageClock
from nuwa_search.search.job.inputs import Inputs, Sources
from nuwa_search.search.request import SearchRequest
from nuwa_search.store.records import Claim
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class SearchStart:
    """One run of a search before any image is decoded.

    Args:
        request: What is asked for, with all options.
        sources: Base, images and device.
        store: The database.
        claim: Claim on the study.
        cache_dir: Folder of statistics, libraries and checkpoints.
        hooks: Callbacks that are told of progress.
        clock: Seconds by stage.
        executor: Where the work runs.
    """

    request: SearchRequest
    sources: Sources
    store: Store
    claim: Claim
    cache_dir: Path
    hooks: Hooks
    clock: StageClock
    executor: Executor

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far, and in all."""
        return self.clock.seconds()


@dataclass(frozen=True)
class SearchRun(SearchStart):
    """One run of a search.

    Args:
        inputs: The sources with their images decoded, and the base with the task's head.
    """

    inputs: Inputs
