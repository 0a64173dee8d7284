"""Finish a decomposition: measure and place the sub-models, score every mode and the rival, write the folder."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nuwa_search.core.device import Device
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import logits_of
from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.collaborate.fusion import Fusion, with_gate
from nuwa_search.deploy.collaborate.layout import Collaboration, Part, Rival, write_collaboration
from nuwa_search.deploy.collaborate.network import ways_ms
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.predictors.collaboration.crew import VALUE_BYTES, Crew
from nuwa_search.predictors.collaboration.spread import Spread
from nuwa_search.search.collaborate.answer import BaseAlone, Decomposed, FoundPart, FoundRival
from nuwa_search.search.collaborate.assess import Assessed, Seen, assess_modes
from nuwa_search.search.collaborate.ensemble import Ensemble, fusion_of, vectors_of
from nuwa_search.search.collaborate.gate import Gate, open_gate
from nuwa_search.search.collaborate.placement import Placement, PlacementProblem, place_models
from nuwa_search.search.collaborate.plan import FUSION_MS, PlannedBoard
from nuwa_search.search.collaborate.prepare import image_bytes_of
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import VectorGraph, vector_graph, write_graph
from nuwa_search.search.job.inputs import Inputs

RIVAL = "rival"
"""Folder of the rival's bundle in the collaboration's."""
GATE = "gate"
"""Name of the single subnet where routed images meet it first."""


@dataclass(frozen=True)
class SearchedRival:
    """The single subnet that a search with the whole budget found.

    Args:
        bundle: Bundle of the subnet.
        study: Name of its search's study.
        device: Name of its device.
    """

    bundle: Bundle
    study: str
    device: str


@dataclass(frozen=True)
class Searched:
    """What the searches found.

    Args:
        parts: Bundle of each sub-model.
        studies: Name of each sub-model's study.
        rival: The single subnet.
    """

    parts: tuple[Bundle, ...]
    studies: tuple[str, ...]
    rival: SearchedRival


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


@dataclass(frozen=True)
class SeenSplits:
    """Outputs of the sub-models on the splits that modes are scored on.

    Args:
        search: Chooses thresholds.
        test: What is reported.
    """

    search: Seen
    test: Seen


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
    dim = max(vit.arch.head_in_features for vit in ensemble.vits)
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
        if _is_gate_worth(found, is_route_wanted=run.request.mean_ms is not None):
            return found
        seen = SeenSplits(*(Seen(one.vectors[:-1], one.labels) for one in (seen.search, seen.test)))
    return _assessed(run, inputs, division, ensemble, placed=placed, seen=seen, gate=None)


def _is_gate_worth(found: AssessedModes, *, is_route_wanted: bool) -> bool:
    modes = {mode.figures.mode: mode for mode in found.modes}
    route, fuse = modes["route"], modes["fuse"]
    is_better = route.top1_search >= fuse.top1_search and route.latency.mean_ms < fuse.latency.mean_ms
    return route.figures.first == found.crew.gate and (is_route_wanted or is_better)


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
        vector_dims=fusion.vector_dims,
        network=division.network,
        image_bytes=image_bytes_of(request, inputs),
        fusion_ms=FUSION_MS,
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


def finish(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    ensemble: Ensemble,
    *,
    placed: PlacedParts,
    searched: Searched,
    seen: SeenSplits | None = None,
    gate: Gate | None = None,
) -> Decomposed:
    """Score, write and return everything; the test split is opened here.

    Args:
        run: The decomposition.
        inputs: Of the whole task.
        division: As planned.
        ensemble: As trained.
        placed: Where its sub-models are.
        searched: What the searches found.
        seen: Outputs of the sub-models, and of the gate; None to compute them.
        gate: The single subnet beside them; None for none.
    """
    request, preprocess = run.request, inputs.base.preprocess
    test = split_tensors(inputs.task.test, preprocess)
    seen = see_splits(ensemble, inputs, test, gate=gate) if seen is None else seen
    found = assess(run, inputs, division, ensemble, placed=placed, seen=seen, gate=gate)
    modes = found.modes
    rival = _rival(inputs, searched.rival, test=test, top1_search=modes[0].top1_search, ours=modes[0].is_right)
    base_right = (logits_of(inputs.teacher.model, test.images, preprocess).argmax(dim=1) == test.labels).sum()
    fastest = min(division.boards, key=lambda board: board.base_ms.median)
    collaboration = Collaboration(
        labels=inputs.task.class_names,
        parts=_parts(run, division, placed, found, gate=gate),
        modes=tuple(mode.figures for mode in modes),
        preprocess=preprocess,
        base=inputs.base.name,
        licence=inputs.base.licence,
        network=division.network,
        fusion_ms=FUSION_MS,
        budget_ms=request.budget_ms,
        rival=rival.rival,
        grouping=request.groups,
        seed=request.seed,
        notes=_notes(inputs, division),
    )
    write_collaboration(run.folder, collaboration, found.fusion)
    return Decomposed(
        study=run.study,
        folder=run.folder,
        budget_ms=request.budget_ms,
        collaboration=collaboration,
        division=division,
        placement=placed.placement,
        parts=(
            *(
                FoundPart(bundle, study, one.measurement, slot.budget_ms, division.boards[slot.board].name)
                for bundle, study, one, slot in zip(
                    searched.parts, searched.studies, placed.graphs, division.slots, strict=True
                )
            ),
            *_found_gate(run, searched.rival, found, gate),
        ),
        modes=modes,
        rival=rival,
        base=BaseAlone(
            inputs.base.name,
            int(base_right) / len(test),
            wilson_interval(int(base_right), len(test)),
            fastest.base_ms.median,
            fastest.spec.name,
        ),
        image_bytes=found.crew.image_bytes,
        seconds=time.perf_counter() - run.started,
    )


def gate_of(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    *,
    placed: PlacedParts,
    rival: SearchedRival,
    devices: Mapping[str, Device],
) -> Gate | None:
    """Put the single subnet beside the sub-models of a board; None where it cannot be.

    Args:
        run: The decomposition: its request, store and callbacks.
        inputs: Base, task and decoded images.
        division: Which classes each sub-model knows.
        placed: Sub-models with their boards and latencies.
        rival: The single subnet, as it was searched for one board.
        devices: Boards by name.
    """
    memory: dict[int, float | None] = {}
    for place, one in zip(placed.placement.places, placed.graphs, strict=True):
        peak, held = one.measurement.peak_memory_mb, memory.get(place, 0.0)
        memory[place] = None if peak is None or held is None else held + peak
    found, device = rival.bundle, rival.device
    return open_gate(run, inputs, division, rival=found, device=device, devices=devices, memory_mb=memory)


def see_splits(ensemble: Ensemble, inputs: Inputs, test: SplitTensors, *, gate: Gate | None = None) -> SeenSplits:
    """Run the sub-models, and the gate after them, over the search split and the test split.

    Args:
        ensemble: Whose sub-models.
        inputs: Base, task and decoded search images.
        test: Decoded test images.
        gate: The single subnet where it takes part.
    """
    models = (*ensemble.vits, *(() if gate is None else (gate.model,)))
    return SeenSplits(*(_seen(models, split, inputs) for split in (inputs.tensors.search, test)))


def _seen(models: Sequence[PlainViT], split: SplitTensors, inputs: Inputs) -> Seen:
    vectors = vectors_of(models, split.images, inputs.base.preprocess)
    return Seen(tuple(np.ascontiguousarray(v.numpy(), np.float32) for v in vectors), split.labels.numpy())


def _spread(one: VectorGraph) -> Spread:
    found = one.measurement.latency_ms
    return Spread(found.median, max(found.median, found.p95))


def _chosen_first(modes: Sequence[Assessed], *, is_route_wanted: bool) -> tuple[Assessed, ...]:
    """Put the default mode first: all boards, or routes where a mean latency was wanted.

    Routes come first too where they are as accurate on the search split and faster in the mean.
    """
    fuse, *others = modes
    for mode in others:
        is_better = mode.top1_search >= fuse.top1_search and mode.latency.mean_ms < fuse.latency.mean_ms
        if mode.figures.mode == "route" and (is_route_wanted or is_better):
            return (mode, fuse, *(other for other in others if other is not mode))
    return (fuse, *others)


def _rival(
    inputs: Inputs, searched: SearchedRival, *, test: SplitTensors, top1_search: float, ours: Floats
) -> FoundRival:
    """Score the single subnet on the same images; it is better where it is as accurate on the search split."""
    bundle, preprocess = searched.bundle, inputs.base.preprocess
    model, search = bundle.load_model(), inputs.tensors.search
    theirs = float((logits_of(model, search.images, preprocess).argmax(dim=1) == search.labels).double().mean())
    right = (logits_of(model, test.images, preprocess).argmax(dim=1) == test.labels).numpy()
    top1 = float(right.mean())
    differences = np.asarray(ours, np.float64) - right
    proof = None if bundle.certificate is None else bundle.certificate.measurement
    if proof is None:
        raise NuwaError(f"the bundle of {searched.study} has no certificate", hint="give another --study")
    return FoundRival(
        Rival(
            device=searched.device,
            predicted_ms=proof.latency_ms.median,
            top1=top1,
            top1_interval=wilson_interval(round(top1 * len(test)), len(test)),
            subnet_id=bundle.subnet_id,
            bundle=RIVAL,
            is_better=theirs >= top1_search,
        ),
        study=searched.study,
        top1_search=theirs,
        difference=(float(differences.mean()), *bootstrap_interval(differences)),
    )


def _floats(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def _found_gate(
    run: DecomposeRun, rival: SearchedRival, found: AssessedModes, gate: Gate | None
) -> tuple[FoundPart, ...]:
    if gate is None or found.crew.gate is None:
        return ()
    return (FoundPart(rival.bundle, rival.study, gate.graph.measurement, run.request.budget_ms, rival.device),)


def _parts(
    run: DecomposeRun, division: ClassDivision, placed: PlacedParts, found: AssessedModes, *, gate: Gate | None
) -> tuple[Part, ...]:
    """Write the graphs of the sub-models, and of the gate where it is taken, and describe them."""
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
    own = fusion.alone(place, test.vectors[place]).argmax(axis=1)
    return Part(
        name=name,
        board=board.name,
        device=board.spec.name,
        classes=classes,
        vector_dim=fusion.vector_dims[place],
        model=file,
        model_sha256=write_graph(one.graph, run.folder / file),
        precision=board.spec.precision,
        predicted_ms=found.median,
        predicted_p95_ms=max(found.median, found.p95),
        provenance=one.measurement.provenance,
        top1=float((own == test.labels).mean()),
    )


def _notes(inputs: Inputs, division: ClassDivision) -> tuple[str, ...]:
    notes = [*inputs.notes, f"{FUSION_MS:g} ms are left for the fusion, as no coordinator was measured"]
    if division.network.local_boards:
        notes.append(f"the coordinator runs on {', '.join(division.network.local_boards)}")
    if division.network.provenance == "assumed":
        notes.append("network figures are assumed: nuwa collaborate probe measures them, and --network FILE reads them")
    if inputs.task.search_split_seen_by_base:
        notes.append("the base has seen the search split, which thresholds and the choice against one board are from")
    return tuple(notes)
