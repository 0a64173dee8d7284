"""Finish a decomposition: score every mode and the rival, and write the folder."""

import time

from nuwa_search.core.tensors import split_tensors
from nuwa_search.deploy.collaborate.layout import Collaboration, write_collaboration
from nuwa_search.search.collaborate.answer import BaseAlone, Decomposed, FoundPart
from nuwa_search.search.collaborate.choose_modes import assess
from nuwa_search.search.collaborate.ensemble import Ensemble
from nuwa_search.search.collaborate.gate import Gate
from nuwa_search.search.collaborate.place_parts import PlacedParts
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.score_net import score_net
from nuwa_search.search.collaborate.score_rival import score_rival
from nuwa_search.search.collaborate.searched import Searched
from nuwa_search.search.collaborate.see_splits import SeenSplits, see_splits
from nuwa_search.search.collaborate.write_parts import write_parts
from nuwa_search.search.job.inputs import Inputs


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
    chosen = modes[0]
    rival = score_rival(inputs, searched.rival, test=test, accuracy_search=chosen.accuracy_search, ours=chosen.test)
    base = score_net(inputs.teacher.model, test, preprocess)
    fastest = min(division.boards, key=lambda board: board.base_ms.median)
    collaboration = Collaboration(
        labels=inputs.task.class_names,
        parts=write_parts(run, division, placed, found, gate=gate),
        modes=tuple(mode.figures for mode in modes),
        preprocess=preprocess,
        base=inputs.base.name,
        licence=inputs.base.licence,
        network=division.network,
        fusion_ms=division.fusion_ms,
        budget_ms=request.budget_ms,
        rival=rival.rival,
        grouping=request.groups,
        seed=request.seed,
        notes=_notes(inputs, division),
        grid=None if found.test.pixels is None else found.test.pixels.grid,
        shared_classes=division.shared,
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
            *([] if found.crew.gate is None or gate is None else [gate.found(searched.rival, request.budget_ms)]),
        ),
        modes=modes,
        rival=rival,
        base=BaseAlone(
            inputs.base.name,
            fastest.vector_ms if inputs.task.kind == "segmentation" else fastest.base_ms.median,
            fastest.spec.name,
            base,
        ),
        image_bytes=found.crew.image_bytes,
        seconds=time.perf_counter() - run.started,
    )


def _notes(inputs: Inputs, division: ClassDivision) -> tuple[str, ...]:
    notes = [*inputs.notes, f"{division.fusion_ms:g} ms are left for the fusion, as no coordinator was measured"]
    if inputs.task.kind == "segmentation":
        notes.append(
            "latencies of boards, of one board alone and of the base end at the scores of patches: scaling those to "
            "pixels is in none of them; each search keeps its budget with it"
        )
    if inputs.task.kind == "segmentation" and len(division.groups) > 1:
        notes.append("images are not routed: a picture holds several classes, which no board alone is the expert of")
    if division.network.local_boards:
        notes.append(f"the coordinator runs on {', '.join(division.network.local_boards)}")
    if division.network.provenance == "assumed":
        notes.append("network figures are assumed: nuwa collaborate probe measures them, and --network FILE reads them")
    if inputs.task.search_split_seen_by_base:
        notes.append("the base has seen the search split, which thresholds and the choice against one board are from")
    return tuple(notes)
