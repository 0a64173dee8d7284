"""What every step of one search is handed."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.search.request import SearchRequest
from nuwa_search.service.workflow.clock import PhaseClock
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs, Sources
from nuwa_search.store.records import Claim
from nuwa_search.store.store import Store

PHASES = ("profile", "derive", "search", "finetune", "deploy")


@dataclass(frozen=True)
class SearchStart:
    """One run of a search before any image is decoded.

    Args:
        request: What is wanted.
        sources: Base, images and device.
        store: The database.
        claim: On the study.
        cache_dir: For statistics, libraries and checkpoints.
        hooks: Who watches.
        clock: Seconds by phase.
    """

    request: SearchRequest
    sources: Sources
    store: Store
    claim: Claim
    cache_dir: Path
    hooks: Hooks
    clock: PhaseClock

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase so far, and in all."""
        return self.clock.part(*PHASES)


@dataclass(frozen=True)
class SearchRun(SearchStart):
    """One run of a search.

    Args:
        inputs: The sources with their images decoded, and the base with the task's head.
    """

    inputs: Inputs
