"""Prepare a decomposition: measure the base on every kind of device, plan budgets, group classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.device import PROTOCOL, Device, LatencyStats
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import num_pixels_of
from nuwa_search.deploy.collaborate.network import Network, with_local
from nuwa_search.predictors.collaboration.crew import VALUE_BYTES
from nuwa_search.search.collaborate.grouping import (
    Groups,
    confusion_inside,
    group_at_random,
    group_balanced,
    group_by_confusion,
)
from nuwa_search.search.collaborate.networks import network_of
from nuwa_search.search.collaborate.plan import PlannedBoard, Slot, board_names, plan_slots, slots_with_first
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import vector_model
from nuwa_search.search.job.find import exported
from nuwa_search.search.job.inputs import Inputs, Sources
from nuwa_search.search.job.survey import headed_like_teacher


def require_images(sources: Sources, request: DecomposeRequest) -> None:
    """Refuse tasks that no fusion is made for, before anything is computed.

    Raises:
        NuwaError: If pixels have classes, or there are fewer classes than sub-models.
    """
    task = sources.task
    if task.kind == "segmentation":
        arch = sources.base.arch
        patches = arch.num_tokens - arch.num_prefix_tokens
        num_bytes = VALUE_BYTES * task.num_classes * patches
        raise NuwaError(
            f"{task.data} has masks, and a decomposition fuses one vector for each image: maps of scores, "
            f"{task.num_classes} classes for each of {patches} patches or {num_bytes} bytes from each board, are not "
            "joined yet",
            hint="nuwa search --budget-ms N --device NAME finds one subnet for one board",
        )
    if task.num_classes < request.num_sub_models:
        raise NuwaError(
            f"{task.num_classes} classes for {request.num_sub_models} sub-models leave one of them without a class",
            hint=f"give at most {task.num_classes} devices, or more classes",
        )


def open_boards(run: DecomposeRun, sources: Sources, devices: Mapping[str, Device]) -> tuple[PlannedBoard, ...]:
    """Measure the base, with a head of the task's size, on every kind of device.

    Args:
        run: The decomposition.
        sources: Base and task.
        devices: Open, by the names of the request.
    """
    model, boards = headed_like_teacher(sources), []
    measured: dict[str, tuple[LatencyStats, float]] = {}
    names = run.request.devices
    for name, board in zip(names, board_names(names), strict=True):
        device = devices[name]
        if device.spec.device_id not in measured:
            found = device.measure(exported(model, device.spec), protocol=PROTOCOL)
            vector = device.measure(exported(vector_model(model), device.spec), protocol=PROTOCOL)
            measured[device.spec.device_id] = found.latency_ms, vector.latency_ms.median
            run.hooks.step(f"base: {found.latency_ms.median:.2f} ms {found.provenance} on {name}")
        boards.append(PlannedBoard(board, device.spec, *measured[device.spec.device_id]))
    return tuple(boards)


def planned_slots(request: DecomposeRequest, boards: Sequence[PlannedBoard], sources: Sources) -> tuple[Slot, ...]:
    """Give each sub-model its device and its own budget.

    Raises:
        NoAnswerError: If network and fusion take the whole budget.
    """
    arch = sources.teacher_archs[0]
    slots = plan_slots(
        boards,
        network_between(request, boards),
        budget_ms=request.budget_ms,
        image_bytes=image_bytes_of(request, sources),
        vector_dim=arch.head_in_features,
        num_models=request.num_sub_models,
    )
    return slots_with_first(slots, boards, first_share=request.first_share)


def network_between(request: DecomposeRequest, boards: Sequence[PlannedBoard]) -> Network:
    """Return the network that was asked for, with the coordinator where it runs."""
    names = [board.name for board in boards]
    return with_local(network_of(request.network, names), names[:1] if request.first_coordinates else ())


def image_bytes_of(request: DecomposeRequest, sources: Sources) -> int:
    """Bytes of an image that is sent to a board: (H, W, 3) uint8; 0 where boards have cameras."""
    return 0 if request.cameras else 3 * num_pixels_of(sources.base.arch.img_size)


def divide_classes(
    request: DecomposeRequest, inputs: Inputs, boards: Sequence[PlannedBoard], slots: Sequence[Slot]
) -> ClassDivision:
    """Group the classes, the hardest group to the sub-model of most room.

    The base's confusion is taken on the search split.

    Args:
        request: What is asked for; ``groups`` names the way to group.
        inputs: Decoded images and the base with the task's head.
        boards: Devices with the latency of the base on each.
        slots: Board and budget of each sub-model; there are as many groups.
    """
    tensors = inputs.tensors
    scores = class_scores(tensors.search_logits(inputs.teacher.model), tensors.search.labels)
    confusion, num_groups = np.asarray(scores.confusion), len(slots)
    match request.groups:
        case "confusion":
            groups = group_by_confusion(confusion, num_groups=num_groups, seed=request.seed)
        case "balanced":
            counts = np.bincount(tensors.train.labels.numpy(), minlength=len(confusion)).tolist()
            groups = group_balanced(counts, num_groups=num_groups)
        case "random":
            groups = group_at_random(len(confusion), num_groups=num_groups, seed=request.seed)
    return ClassDivision(
        boards=tuple(boards),
        network=network_between(request, boards),
        slots=tuple(slots),
        groups=_matched(groups, confusion, [slot.budget_ms / boards[slot.board].base_ms.median for slot in slots]),
        confusion_inside=confusion_inside(confusion, groups),
    )


def _matched(groups: Groups, confusion: npt.NDArray[np.int64], rooms: Sequence[float]) -> Groups:
    """Give the group of most errors the slot of most room, and so on."""
    totals = confusion.sum(axis=1) - np.diag(confusion)
    by_errors = sorted(groups, key=lambda group: (-int(totals[list(group)].sum()), group))
    by_room = sorted(range(len(rooms)), key=lambda k: (-rooms[k], k))
    matched = dict(zip(by_room, by_errors, strict=True))
    return tuple(matched[k] for k in range(len(rooms)))
