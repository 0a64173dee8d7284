"""Measure the sub-models on every kind of device, and place them on the boards."""

from collections.abc import Mapping
from dataclasses import dataclass

from nuwa_search.core.device import Device
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.network import ways_ms
from nuwa_search.predictors.collaboration.crew import VALUE_BYTES
from nuwa_search.search.collaborate.ensemble import Ensemble
from nuwa_search.search.collaborate.placement import Placement, PlacementProblem, place_models
from nuwa_search.search.collaborate.prepare import image_bytes_of
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import VectorGraph, answer_values, vector_graph
from nuwa_search.search.job.inputs import Inputs


@dataclass(frozen=True)
class PlacedParts:
    """The sub-models on their boards.

    Args:
        placement: Where each went.
        graphs: Graph of each sub-model, for its board.
    """

    placement: Placement
    graphs: tuple[VectorGraph, ...]


def place_parts(
    run: DecomposeRun, inputs: Inputs, division: ClassDivision, ensemble: Ensemble, devices: Mapping[str, Device]
) -> PlacedParts:
    """Measure every sub-model on every kind of device, and place them within memory.

    Where no other placement is faster, each stays on the board that it was searched for.

    Args:
        run: The decomposition.
        inputs: Decoded images and the base with the task's head.
        division: Boards, network, and the slot of each sub-model.
        ensemble: Trained sub-models with their fusion.
        devices: Open devices, by name.

    Raises:
        NoAnswerError: If memory does not suffice.
        NuwaError: If it is limited, and a device does not tell it.
    """
    boards, limit_mb = division.boards, run.request.max_memory_mb
    kinds = {board.spec.device_id: devices[board.spec.name] for board in boards}
    graphs = [
        {
            kind: vector_graph(vit, device, search=inputs.tensors.search, preprocess=inputs.tensors.preprocess)
            for kind, device in kinds.items()
        }
        for vit in ensemble.vits
    ]
    rows = [[by_kind[board.spec.device_id].measurement for board in boards] for by_kind in graphs]
    peaks = [[found.peak_memory_mb for found in row] for row in rows]
    if limit_mb is not None and any(peak is None for row in peaks for peak in row):
        raise NuwaError("a device does not tell its peak memory", hint="leave --max-memory-mb out")
    dim = max(answer_values(vit.arch) for vit in ensemble.vits)
    ways = [
        ways_ms(
            division.network,
            [board.name],
            image_bytes=image_bytes_of(run.request, inputs),
            vector_bytes=[VALUE_BYTES * dim],
        )[0]
        for board in boards
    ]
    problem = PlacementProblem(
        compute_ms=tuple(tuple(found.latency_ms.median for found in row) for row in rows),
        memory_mb=tuple(tuple(peak or 0.0 for peak in row) for row in peaks),
        room_mb=(limit_mb,) * len(boards),
        transfer_ms=tuple(ways),
    )
    placement = _kept_unless_better(problem, tuple(slot.board for slot in division.slots))
    chosen = [graphs[k][boards[board].spec.device_id] for k, board in enumerate(placement.places)]
    return PlacedParts(placement, tuple(chosen))


def _kept_unless_better(problem: PlacementProblem, searched: tuple[int, ...]) -> Placement:
    best = place_models(problem)
    own_ms = problem.slowest_ms(searched)
    if problem.is_within(searched) and best.slowest_ms >= own_ms * (1 - 1e-9):
        return Placement(searched, own_ms, is_exact=best.is_exact, gap=best.gap)
    return best
