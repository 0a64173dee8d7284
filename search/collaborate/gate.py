"""The single subnet as a gate: routed images meet it first, and all sub-models only where it is not sure.

An expert that answers alone is sure of its own group's images and of others that it takes for them; the single subnet
was made for all classes. Where it is not sure, its answer and the fusion's are multiplied as independent opinions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nuwa_search.core.device import Device
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.collaborate.answer import FoundPart
from nuwa_search.search.collaborate.assess import Assessed
from nuwa_search.search.collaborate.place_parts import PlacedParts
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.searched import SearchedRival
from nuwa_search.search.collaborate.vector_graph import VectorGraph, vector_graph
from nuwa_search.search.job.inputs import Inputs

GATE = "gate"
"""Name of the single subnet where routed images meet it first."""


@dataclass(frozen=True)
class Gate:
    """The single subnet beside a board's own sub-models.

    Args:
        model: With its head over all classes.
        graph: Of its vector, for its board.
        board: Place of that board.
    """

    model: PlainViT
    graph: VectorGraph
    board: int

    def found(self, rival: SearchedRival, budget_ms: float) -> FoundPart:
        """Return it as a part of the answer."""
        return FoundPart(rival.bundle, rival.study, self.graph.measurement, budget_ms, rival.device)


def gate_of(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    *,
    placed: PlacedParts,
    rival: SearchedRival,
    devices: Mapping[str, Device],
) -> Gate | None:
    """Put the single subnet on the board that coordinates, or the first of the kind that it was searched for.

    Args:
        run: The decomposition: its request, store and callbacks.
        inputs: Decoded images and the base with the task's head.
        division: Boards and their network.
        placed: Sub-models with their boards and latencies.
        rival: The single subnet, as it was searched for one board.
        devices: Open devices, by name.

    Returns:
        None where there is one sub-model only, images are not routed as their pixels have classes, or the board's
        memory does not suffice.
    """
    if len(division.groups) == 1 or inputs.task.kind == "segmentation":
        return None
    local = division.network.local_boards
    alike = [place for place, board in enumerate(division.boards) if board.spec.name == rival.device]
    place = next((place for place in alike if division.boards[place].name in local), alike[0])
    model, tensors = rival.bundle.load_model(), inputs.tensors
    graph = vector_graph(model, devices[rival.device], search=tensors.search, preprocess=tensors.preprocess)
    limit_mb = run.request.max_memory_mb
    if limit_mb is not None:
        held, own = _memory_mb(placed, place), graph.measurement.peak_memory_mb
        if held is None or own is None or held + own > limit_mb:
            run.hooks.step(f"{division.boards[place].name} has no room for the single subnet beside its own")
            return None
    return Gate(model, graph, place)


def is_gate_worth(modes: Sequence[Assessed], *, gate: int | None, is_route_wanted: bool) -> bool:
    """Whether routed images should meet the gate first, and are then faster than with all boards, or routes are wanted.

    Args:
        modes: Scored and timed with the gate.
        gate: Its place among the sub-models.
        is_route_wanted: Whether a mean latency of routed images was asked for.
    """
    by_name = {mode.figures.mode: mode for mode in modes}
    route, fuse = by_name["route"], by_name["fuse"]
    is_better = route.accuracy_search >= fuse.accuracy_search and route.latency.mean_ms < fuse.latency.mean_ms
    return route.figures.first == gate and (is_route_wanted or is_better)


def _memory_mb(placed: PlacedParts, board: int) -> float | None:
    """Peak memory of the sub-models of a board together; None where the device does not tell it."""
    peaks = [
        one.measurement.peak_memory_mb
        for place, one in zip(placed.placement.places, placed.graphs, strict=True)
        if place == board
    ]
    known = [peak for peak in peaks if peak is not None]
    return sum(known) if len(known) == len(peaks) else None
