"""Latency of a collaboration from its own file, on its own network or another."""

from dataclasses import dataclass

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.network import Network
from nuwa_search.deploy.collaborate.way_figures import ModeFigures
from nuwa_search.predictors.collaboration.crew import VALUE_BYTES, Crew
from nuwa_search.predictors.collaboration.modes import (
    ModeLatency,
    RouteStep,
    any_of_n_latency,
    fuse_latency,
    route_latency,
)
from nuwa_search.predictors.collaboration.spread import Spread


@dataclass(frozen=True)
class PredictedMode:
    """One way to use the boards on a network.

    Args:
        figures: As the collaboration holds them: accuracy, and the latency that it was made with.
        latency: On the network; None where the collaboration does not say whom routed images are asked of.
    """

    figures: ModeFigures
    latency: ModeLatency | None


def crew_of(collaboration: Collaboration, network: Network) -> Crew:
    """Return the boards of a collaboration on a network.

    Raises:
        NuwaError: If the network lacks one of the boards.
    """
    for board in collaboration.boards:
        network.link(board)
    parts = collaboration.parts
    return Crew(
        boards=tuple(part.board for part in parts),
        compute=tuple(Spread(part.predicted_ms, part.predicted_p95_ms) for part in parts),
        vector_dims=collaboration.vector_dims,
        network=network,
        image_bytes=0 if has_cameras(collaboration) else collaboration.image_bytes,
        fusion_ms=collaboration.fusion_ms,
        gate=collaboration.gate,
    )


def has_cameras(collaboration: Collaboration) -> bool:
    """Whether no image is sent: an image that every board answers then takes the bytes of the vectors alone."""
    local = collaboration.network.local_boards
    far = [part.vector_dim for part in collaboration.parts if part.classes and part.board not in local]
    vectors = VALUE_BYTES * sum(far)
    return any(mode.mode != "route" and mode.bytes_per_image == vectors for mode in collaboration.modes)


def predict_modes(collaboration: Collaboration, network: Network | None = None) -> tuple[PredictedMode, ...]:
    """Predict every mode of a collaboration, in its order.

    Thresholds of ``route`` stay as they were chosen: the same images are asked of the same boards.

    Args:
        collaboration: Its sub-models with their times.
        network: Figures of the network; None for those that it was made with.

    Raises:
        NuwaError: If the network lacks one of the boards.
    """
    crew = crew_of(collaboration, network or collaboration.network)
    return tuple(PredictedMode(figures, _latency(figures, crew)) for figures in collaboration.modes)


def _latency(figures: ModeFigures, crew: Crew) -> ModeLatency | None:
    match figures.mode:
        case "fuse":
            return fuse_latency(crew.times(), crew.centre)
        case "any":
            if figures.needed is None:
                raise NuwaError("any does not say how many sub-models are needed")
            return any_of_n_latency(crew.times_by_model(are_alone=False), crew.centre, count=figures.needed)
        case "route":
            if not figures.steps:
                return None
            steps = [RouteStep(step.share, step.rounds) for step in figures.steps]
            times = crew.times_by_model(are_alone=True)
            return route_latency(times, crew.centre, steps=steps, owners=crew.owners)
