"""Score every way to use the boards, with a gate where it is worth its place; the default way comes first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nuwa_search.deploy.collaborate.fusion import Fusion, with_gate
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.crew import Crew
from nuwa_search.predictors.collaboration.spread import Spread
from nuwa_search.search.collaborate.assess import Assessed, assess_modes
from nuwa_search.search.collaborate.ensemble import Ensemble, fusion_of
from nuwa_search.search.collaborate.gate import Gate, is_gate_worth
from nuwa_search.search.collaborate.place_parts import PlacedParts
from nuwa_search.search.collaborate.prepare import image_bytes_of
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.see_splits import SeenSplits
from nuwa_search.search.collaborate.seen import Seen
from nuwa_search.search.collaborate.vector_graph import VectorGraph
from nuwa_search.search.job.inputs import Inputs


@dataclass(frozen=True)
class AssessedModes:
    """Every way to use the boards, scored and timed.

    Args:
        modes: The first is the one that was chosen.
        fusion: As the coordinator reads it.
        crew: Boards that run the sub-models, and their network.
        test: Outputs of the sub-models on the test split.
    """

    modes: tuple[Assessed, ...]
    fusion: Fusion
    crew: Crew
    test: Seen


def assess(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    ensemble: Ensemble,
    *,
    placed: PlacedParts,
    seen: SeenSplits,
    gate: Gate | None = None,
) -> AssessedModes:
    """Score and time every way to use the boards, on the network of ``division``.

    A gate is taken where it is what routed images should meet first, and they are then faster than with all boards.

    Args:
        run: The decomposition.
        inputs: Of the whole task.
        division: As planned.
        ensemble: As trained.
        placed: Where its sub-models are.
        seen: Outputs of its sub-models, and of the gate.
        gate: The single subnet beside them; None for none.
    """
    if gate is not None:
        found = _assessed(run, inputs, division, ensemble, placed=placed, seen=seen, gate=gate)
        if is_gate_worth(found.modes, gate=found.crew.gate, is_route_wanted=run.request.mean_ms is not None):
            return found
        seen = SeenSplits(*(Seen(one.vectors[:-1], one.labels, one.pixels) for one in (seen.search, seen.test)))
    return _assessed(run, inputs, division, ensemble, placed=placed, seen=seen, gate=None)


def _assessed(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    ensemble: Ensemble,
    *,
    placed: PlacedParts,
    seen: SeenSplits,
    gate: Gate | None,
) -> AssessedModes:
    request, fusion = run.request, fusion_of(ensemble)
    places, graphs, groups = placed.placement.places, placed.graphs, division.groups
    if gate is not None:
        head = gate.model.head
        fusion = with_gate(fusion, _floats(head.weight.T), _floats(head.bias))
        places, graphs, groups = (*places, gate.board), (*graphs, gate.graph), (*groups, ())
    crew = Crew(
        boards=tuple(division.boards[board].name for board in places),
        compute=tuple(_spread(one) for one in graphs),
        vector_dims=_numbers_of(fusion, seen.test),
        network=division.network,
        image_bytes=image_bytes_of(request, inputs),
        fusion_ms=division.fusion_ms,
        gate=None if gate is None else len(places) - 1,
    )
    modes = assess_modes(
        fusion,
        crew,
        groups=groups,
        search=seen.search,
        test=seen.test,
        needed=request.num_needed,
        wanted_mean_ms=request.mean_ms,
    )
    chosen = _chosen_first(modes, is_route_wanted=request.mean_ms is not None)
    return AssessedModes(chosen, fusion, crew, seen.test)


def _chosen_first(modes: Sequence[Assessed], *, is_route_wanted: bool) -> tuple[Assessed, ...]:
    """Put the default mode first: all boards, or routes where a mean latency was wanted.

    Routes come first too where they are as accurate on the search split and faster in the mean.
    """
    fuse, *others = modes
    for mode in others:
        is_better = mode.accuracy_search >= fuse.accuracy_search and mode.latency.mean_ms < fuse.latency.mean_ms
        if mode.figures.mode == "route" and (is_route_wanted or is_better):
            return (mode, fuse, *(other for other in others if other is not mode))
    return (fuse, *others)


def _numbers_of(fusion: Fusion, seen: Seen) -> tuple[int, ...]:
    """Numbers in an answer of each sub-model: of its vector, or of all patches."""
    rows = 1 if seen.pixels is None else math.prod(seen.pixels.grid)
    return tuple(rows * dim for dim in fusion.vector_dims)


def _spread(one: VectorGraph) -> Spread:
    found = one.measurement.latency_ms
    return Spread(found.median, max(found.median, found.p95))


def _floats(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())
