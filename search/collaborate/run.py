"""What every step of a decomposition is handed."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from nuwa_search.deploy.collaborate.network import Network
from nuwa_search.search.collaborate.grouping import Groups
from nuwa_search.search.collaborate.plan import FUSION_MS, PlannedBoard, Slot
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.hooks import Hooks
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class DecomposeRun:
    """One run of a decomposition.

    Args:
        request: What is asked for, with all options.
        store: The database.
        study: Its name; its searches are called after it.
        cache_dir: For statistics and checkpoints; may be deleted at any time.
        hooks: Callbacks that are told of progress.
        started: When it began, by ``time.perf_counter``.
    """

    request: DecomposeRequest
    store: Store
    study: str
    cache_dir: Path
    hooks: Hooks
    started: float = field(default_factory=time.perf_counter, compare=False)

    @property
    def folder(self) -> Path:
        """Folder of the collaboration."""
        return Path(self.request.output or f"runs/{self.study}")

    @property
    def work_dir(self) -> Path:
        """Folder of checkpoints."""
        return self.cache_dir / "decompose" / self.study


@dataclass(frozen=True)
class ClassDivision:
    """What was planned: devices, network, and a slot and a group of classes for each sub-model.

    Args:
        boards: The devices.
        network: Between them and the coordinator.
        slots: Of each sub-model.
        groups: Classes of each sub-model.
        confusion_inside: Share of the base's confusion that lies inside groups.
        fusion_ms: Left for the fusion on the coordinator.
        shared: Classes of no group, which every sub-model tells from its own: the background of pixels.
    """

    boards: tuple[PlannedBoard, ...]
    network: Network
    slots: tuple[Slot, ...]
    groups: Groups
    confusion_inside: float
    fusion_ms: float = FUSION_MS
    shared: tuple[int, ...] = ()

    def name_of(self, place: int) -> str:
        """Name a sub-model."""
        return f"part-{place + 1}"

    def board_of(self, place: int) -> PlannedBoard:
        """Return the board that a sub-model was searched for."""
        return self.boards[self.slots[place].board]
