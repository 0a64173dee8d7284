"""Predict what a collaboration takes, end to end, without its boards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.collaborate.layout import Collaboration, collaboration_of
from nuwa_search.deploy.collaborate.network import Network, with_local
from nuwa_search.predictors.collaboration.predicted import PredictedMode, predict_modes
from nuwa_search.search.collaborate.networks import network_of

Origin = Literal["measured", "emulated", "transferred", "mixed"]


@dataclass(frozen=True)
class PredictedWay(JsonFields):
    """One way to use the boards: ``fuse``, ``any`` or ``route``.

    Args:
        mode: Which.
        predicted_p50_ms: Median of an image, end to end; None, as the three below, where the folder does not say whom
            routed images are asked of.
        predicted_p95_ms: 95th percentile.
        predicted_mean_ms: Mean.
        predicted_images_per_s: Of a stream.
        bytes_per_image: Images there and vectors back, mean.
        top1: Accuracy on ``split``, as the decomposition scored it; the network does not change it.
        split: Split of these images.
        miou: Mean IoU there, where pixels have classes; ``top1`` is None then.
    """

    mode: str
    predicted_p50_ms: float | None
    predicted_p95_ms: float | None
    predicted_mean_ms: float | None
    predicted_images_per_s: float | None
    bytes_per_image: float
    top1: float | None
    split: str
    miou: float | None = None


@dataclass(frozen=True, kw_only=True)
class CollaborationPrediction(JsonFields):
    """What a collaboration is predicted to take: the ``nuwa.predict-collaboration/1`` answer.

    Args:
        schema: Of the document.
        dir: Folder of the collaboration.
        boards: Device of each board, by name.
        budget_ms: That it was made for; None where none was given.
        is_within_budget: Whether the median of its first mode keeps the budget on this network; None without one.
        modes: Every way to use the boards; the first is the one that was chosen.
        network: Figures that were taken.
        provenance: Of the sub-models' latencies.
    """

    schema: str = "nuwa.predict-collaboration/1"
    dir: str
    boards: Mapping[str, str]
    budget_ms: float | None
    is_within_budget: bool | None
    modes: tuple[PredictedWay, ...]
    network: Network
    provenance: Origin


def predict_collaboration(folder: Path, *, network: str | None = None) -> CollaborationPrediction:
    """Predict a collaboration from its folder.

    Args:
        folder: Of the collaboration.
        network: As of ``nuwa decompose``; None for the figures that it was made with.

    Raises:
        NuwaError: If the folder holds none, or the network lacks one of its boards.
    """
    collaboration = collaboration_of(folder)
    taken = collaboration.network
    if network is not None:  # the coordinator stays where it is
        taken = with_local(network_of(network, collaboration.boards), taken.local_boards)
    modes = predict_modes(collaboration, taken)
    return CollaborationPrediction(
        dir=str(folder),
        boards={part.board: part.device for part in collaboration.parts},
        budget_ms=collaboration.budget_ms,
        is_within_budget=_is_within(modes[0], collaboration.budget_ms),
        modes=tuple(_way(mode) for mode in modes),
        network=taken,
        provenance=_origin(collaboration),
    )


def _way(mode: PredictedMode) -> PredictedWay:
    figures, latency = mode.figures, mode.latency
    return PredictedWay(
        mode=figures.mode,
        predicted_p50_ms=None if latency is None else latency.p50_ms,
        predicted_p95_ms=None if latency is None else latency.p95_ms,
        predicted_mean_ms=None if latency is None else latency.mean_ms,
        predicted_images_per_s=None if latency is None else latency.images_per_s,
        bytes_per_image=figures.bytes_per_image,
        top1=figures.top1,
        split=figures.split,
        miou=figures.miou,
    )


def _is_within(mode: PredictedMode, budget_ms: float | None) -> bool | None:
    if budget_ms is None or mode.latency is None:
        return None
    return mode.latency.p50_ms <= budget_ms


def _origin(collaboration: Collaboration) -> Origin:
    kinds = {part.provenance for part in collaboration.parts}
    return kinds.pop() if len(kinds) == 1 else "mixed"
