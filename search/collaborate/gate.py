"""The single subnet as a gate: routed images meet it first, and all sub-models only where it is not sure.

An expert that answers alone is sure of its own group's images and of others that it takes for them; the single subnet
was made for all classes. Where it is not sure, its answer and the fusion's are multiplied as independent opinions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nuwa_search.core.device import Device
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import VectorGraph, vector_graph
from nuwa_search.search.job.inputs import Inputs


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


def open_gate(
    run: DecomposeRun,
    inputs: Inputs,
    division: ClassDivision,
    *,
    rival: Bundle,
    device: str,
    devices: Mapping[str, Device],
    memory_mb: Mapping[int, float | None],
) -> Gate | None:
    """Put the single subnet on the board that coordinates, or the first of the kind that it was searched for.

    Args:
        run: The decomposition.
        inputs: Decoded images and the base with the task's head.
        division: Boards and their network.
        rival: Bundle of the single subnet.
        device: Name of the device that it was searched for.
        devices: Open devices, by name.
        memory_mb: Peak memory of the sub-models of each board, by place; None where a device does not tell it.

    Returns:
        None where there is one sub-model only, or the board's memory does not suffice.
    """
    if len(division.groups) == 1:
        return None
    local = division.network.local_boards
    alike = [place for place, board in enumerate(division.boards) if board.spec.name == device]
    place = next((place for place in alike if division.boards[place].name in local), alike[0])
    model, tensors = rival.load_model(), inputs.tensors
    graph = vector_graph(model, devices[device], search=tensors.search, preprocess=tensors.preprocess)
    limit_mb = run.request.max_memory_mb
    if limit_mb is not None:
        held, own = memory_mb.get(place, 0.0), graph.measurement.peak_memory_mb
        if held is None or own is None or held + own > limit_mb:
            run.hooks.step(f"{division.boards[place].name} has no room for the single subnet beside its own")
            return None
    return Gate(model, graph, place)
