"""The answer of a decomposition: ``nuwa.decompose/1``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nuwa_search.core.device import Measurement
from nuwa_search.core.metric import Metric
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.rival import Rival
from nuwa_search.deploy.collaborate.way_figures import ModeFigures
from nuwa_search.predictors.collaboration.crew import VALUE_BYTES
from nuwa_search.search.collaborate.assess import Assessed
from nuwa_search.search.collaborate.placement import Placement
from nuwa_search.search.collaborate.run import ClassDivision
from nuwa_search.search.collaborate.seen import Rightness

SCHEMA = "nuwa.decompose/1"
Shipped = Literal["collaboration", "rival"]


@dataclass(frozen=True)
class FoundPart:
    """One sub-model.

    Args:
        bundle: Bundle as its search left it.
        study: Name of that search's study.
        measurement: As it was placed, of the graph that ends in a vector.
        budget_ms: Its own.
        studied_on: Name of the device of its search.
    """

    bundle: Bundle
    study: str
    measurement: Measurement
    budget_ms: float
    studied_on: str


@dataclass(frozen=True)
class FoundRival:
    """The best single subnet on one board within the same budget.

    Args:
        rival: As a collaboration holds it; accuracy of the test split.
        study: Name of its search's study.
        accuracy_search: Accuracy on the search split, which decides what is shipped.
        difference: Of the collaboration's accuracy less the rival's on the test split, with its 95 % interval (paired
            bootstrap): middle, low, high.
    """

    rival: Rival
    study: str
    accuracy_search: float
    difference: tuple[float, float, float]

    @property
    def is_equal(self) -> bool:
        """Whether the test images cannot tell the two apart."""
        return self.difference[1] <= 0 <= self.difference[2]


@dataclass(frozen=True)
class BaseAlone:
    """The uncut base: its latency on the fastest board, timed as boards are, and how it answers the test split."""

    name: str
    latency_ms: float
    device: str
    test: Rightness


@dataclass(frozen=True)
class Decomposed:
    """What a decomposition came to.

    Args:
        study: Its name.
        folder: Of the collaboration.
        budget_ms: End to end.
        collaboration: As it was written.
        division: Devices, groups and budgets.
        placement: Of the sub-models on the boards.
        parts: The sub-models.
        modes: Every way to use the boards; the first is the one that was chosen.
        rival: One subnet on one board.
        base: The uncut base.
        image_bytes: Sent to a board for an image; 0 where boards have cameras.
        seconds: Seconds that it took.
    """

    study: str
    folder: Path
    budget_ms: float
    collaboration: Collaboration
    division: ClassDivision
    placement: Placement
    parts: tuple[FoundPart, ...]
    modes: tuple[Assessed, ...]
    rival: FoundRival
    base: BaseAlone
    image_bytes: int
    seconds: float

    @property
    def is_feasible(self) -> bool:
        """Whether the median of all boards together keeps the budget, as measured on each."""
        fuse = next(mode for mode in self.modes if mode.figures.mode == "fuse")
        return fuse.figures.predicted_p50_ms <= self.budget_ms

    @property
    def metric(self) -> Metric:
        """Which accuracy counts."""
        return "top1" if self.collaboration.grid is None else "miou"

    @property
    def shipped(self) -> Shipped:
        """What is better on the search split within the budget."""
        return "rival" if self.rival.rival.is_better or not self.is_feasible else "collaboration"

    @property
    def verdict(self) -> str:
        """One sentence on what is shipped and why."""
        chosen, rival = self.modes[0], self.rival
        middle, low, high = (100 * value for value in rival.difference)
        points = "points" if self.metric == "top1" else "points of mIoU"
        told = f"{middle:+.1f} {points} ({low:+.1f} to {high:+.1f}) on {chosen.figures.num_images} test images"
        if rival.is_equal:
            told += ", which these images cannot tell from nothing"
        if not self.is_feasible:
            return f"the boards together miss the budget of {self.budget_ms:g} ms: one board alone is shipped"
        if self.shipped == "rival":
            return f"one board alone is at least as accurate on the search split and is shipped; the boards: {told}"
        return f"{len(self.collaboration.boards)} boards are shipped: {told} against one board alone"

    @property
    def shipped_dir(self) -> Path:
        """Folder of what is shipped."""
        return self.folder / self.rival.rival.bundle if self.shipped == "rival" else self.folder

    def to_json(self) -> dict[str, Any]:
        """Render the ``nuwa.decompose/1`` document."""
        whole = self.collaboration
        return {
            "schema": SCHEMA,
            "study": self.study,
            "feasible": self.is_feasible,
            "metric": self.metric,
            "budget_ms": self.budget_ms,
            "seed": whole.seed,
            "dir": str(self.folder),
            "shipped": self.shipped,
            "shipped_dir": str(self.shipped_dir),
            "verdict": self.verdict,
            "classes": list(whole.labels),
            "grouping": {
                "kind": whole.grouping,
                "confusion_inside": self.division.confusion_inside,
                "shared": [whole.labels[c] for c in whole.shared_classes],
            },
            "grid": None if whole.grid is None else list(whole.grid),
            "network": {
                "provenance": whole.network.provenance,
                "image_bytes": self.image_bytes,
                "fusion_ms": whole.fusion_ms,
                "links": [
                    {"board": link.board, "rtt_p50_ms": link.rtt_p50_ms, "rtt_p95_ms": link.rtt_p95_ms,
                     "down_mbit": link.down_mbit, "up_mbit": link.up_mbit}
                    for link in whole.network.links
                ],
            },
            "placement": {
                "is_exact": self.placement.is_exact,
                "gap": self.placement.gap,
                "slowest_ms": self.placement.slowest_ms,
            },
            "sub_models": [self._part(place) for place in range(len(self.parts))],
            "modes": [_mode(mode, self.metric) for mode in self.modes],
            "rival": self._rival(),
            "base": {
                "name": self.base.name,
                **_accuracy(self.base.test),
                "latency_ms": self.base.latency_ms,
                "device": self.base.device,
            },
            "notes": list(whole.notes),
            "seconds": self.seconds,
        }  # fmt: skip

    def _part(self, place: int) -> dict[str, Any]:
        part, found = self.collaboration.parts[place], self.parts[place]
        return {
            "name": part.name,
            "board": part.board,
            "device": part.device,
            "classes": [self.collaboration.labels[c] for c in part.classes],
            "study": found.study,
            "subnet_id": found.bundle.subnet_id,
            "arch_id": found.bundle.arch.arch_id,
            "budget_ms": found.budget_ms,
            "searched_for": found.studied_on,
            "latency_ms": part.predicted_ms,
            "p95_ms": part.predicted_p95_ms,
            "provenance": part.provenance,
            "peak_memory_mb": found.measurement.peak_memory_mb,
            "vector_dim": part.vector_dim,
            "answer_bytes": VALUE_BYTES * part.vector_dim,
            "top1_alone": part.top1,
            "miou_alone": part.miou,
        }

    def _rival(self) -> dict[str, Any]:
        found, rival = self.rival, self.rival.rival
        return {
            "device": rival.device,
            "study": found.study,
            "subnet_id": rival.subnet_id,
            "latency_ms": rival.predicted_ms,
            **_accuracy(rival),
            **_on_search(found.accuracy_search, self.metric),
            "is_better": rival.is_better,
            "dir": str(self.folder / rival.bundle),
            "difference": found.difference[0],
            "difference_interval": list(found.difference[1:]),
            "is_equal": found.is_equal,
        }


def _accuracy(found: Rightness | Rival | ModeFigures) -> dict[str, Any]:
    """Both accuracies with their 95 % intervals, of which one is null."""
    return {
        "top1": found.top1,
        "top1_interval": None if found.top1_interval is None else list(found.top1_interval),
        "miou": found.miou,
        "miou_interval": None if found.miou_interval is None else list(found.miou_interval),
    }


def _on_search(accuracy: float, metric: Metric) -> dict[str, float | None]:
    is_miou = metric == "miou"
    return {"top1_search": None if is_miou else accuracy, "miou_search": accuracy if is_miou else None}


def _mode(mode: Assessed, metric: Metric) -> dict[str, Any]:
    figures = mode.figures
    return {
        "mode": figures.mode,
        "predicted_p50_ms": figures.predicted_p50_ms,
        "predicted_p95_ms": figures.predicted_p95_ms,
        "predicted_mean_ms": figures.predicted_mean_ms,
        "predicted_images_per_s": mode.latency.images_per_s,
        "bytes_per_image": figures.bytes_per_image,
        "needed": figures.needed,
        "first": figures.first,
        "thresholds": list(figures.thresholds),
        **_accuracy(figures),
        "num_images": figures.num_images,
        "split": figures.split,
        **_on_search(mode.accuracy_search, metric),
    }
