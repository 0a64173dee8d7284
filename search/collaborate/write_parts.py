"""Write the graphs of the sub-models into the collaboration's folder, and describe each."""

from nuwa_search.deploy.collaborate.layout import Part
from nuwa_search.search.collaborate.choose_modes import AssessedModes
from nuwa_search.search.collaborate.gate import GATE, Gate
from nuwa_search.search.collaborate.place_parts import PlacedParts
from nuwa_search.search.collaborate.plan import PlannedBoard
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import VectorGraph, write_graph


def write_parts(
    run: DecomposeRun, division: ClassDivision, placed: PlacedParts, found: AssessedModes, *, gate: Gate | None
) -> tuple[Part, ...]:
    """Write the graphs of the sub-models, and of the gate where it is taken, and describe them.

    Args:
        run: The decomposition, whose folder they go to.
        division: Boards, and the group of classes of each sub-model.
        placed: Graph of each sub-model, and its board.
        found: Fusion, outputs on the test split, and whether the gate is taken.
        gate: The single subnet beside them; None for none.
    """
    parts = [
        _part(run, found, division.boards[board], one, name=division.name_of(k), classes=division.groups[k], place=k)
        for k, (board, one) in enumerate(zip(placed.placement.places, placed.graphs, strict=True))
    ]
    if gate is not None and (place := found.crew.gate) is not None:
        parts.append(_part(run, found, division.boards[gate.board], gate.graph, name=GATE, classes=(), place=place))
    return tuple(parts)


def _part(
    run: DecomposeRun,
    modes: AssessedModes,
    board: PlannedBoard,
    one: VectorGraph,
    *,
    name: str,
    classes: tuple[int, ...],
    place: int,
) -> Part:
    """Write a sub-model's graph, and describe it."""
    found, fusion, test = one.measurement.latency_ms, modes.fusion, modes.test
    file = f"{name}.onnx"
    own = test.scored([fusion.alone(place, test.vectors[place])])
    return Part(
        name=name,
        board=board.name,
        device=board.spec.name,
        classes=classes,
        vector_dim=modes.crew.vector_dims[place],
        model=file,
        model_sha256=write_graph(one.graph, run.folder / file),
        precision=board.spec.precision,
        predicted_ms=found.median,
        predicted_p95_ms=max(found.median, found.p95),
        provenance=one.measurement.provenance,
        top1=own.top1,
        miou=own.miou,
    )
