"""What every step of one search is handed."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.search.request import SearchRequest
from nuwa_search.service.workflow.clock import PhaseClock
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs
from nuwa_search.store.records import Claim
from nuwa_search.store.store import Store

PHASES = ("profile", "derive", "search", "finetune", "deploy")


@dataclass(frozen=True)
class SearchRun:
    """One run of a search.

    Args:
        request: What is wanted.
        inputs: Base, images and device, opened.
        store: The database.
        claim: On the study.
        cache_dir: For statistics, libraries and checkpoints.
        hooks: Who watches.
        clock: Seconds by phase.
    """

    request: SearchRequest
    inputs: Inputs
    store: Store
    claim: Claim
    cache_dir: Path
    hooks: Hooks
    clock: PhaseClock

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase so far, and in all."""
        return self.clock.part(*PHASES)
