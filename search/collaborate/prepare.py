"""Prepare a decomposition: measure the base on every kind of device, plan budgets, group classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nuwa_search.core.device import PROTOCOL, Device, LatencyStats
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import num_pixels_of
from nuwa_search.core.task import Task
from nuwa_search.deploy.collaborate.layout import MAX_VECTOR
from nuwa_search.deploy.collaborate.network import Network, with_local
from nuwa_search.search.collaborate.class_table import class_table, grouped_classes, shared_classes
from nuwa_search.search.collaborate.grouping import (
    Groups,
    confusion_inside,
    group_at_random,
    group_balanced,
    group_by_confusion,
)
from nuwa_search.search.collaborate.networks import network_of
from nuwa_search.search.collaborate.plan import (
    PlannedBoard,
    Slot,
    board_names,
    fusion_allowance_ms,
    plan_slots,
    slots_with_first,
)
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.vector_graph import answer_graph, answer_values
from nuwa_search.search.job.find import exported
from nuwa_search.search.job.inputs import Inputs, Sources
from nuwa_search.search.job.survey import headed_like_teacher


def require_images(sources: Sources, request: DecomposeRequest) -> None:
    """Refuse tasks that boards cannot share, before anything is computed.

    Raises:
        NuwaError: If there are fewer classes than sub-models, or where pixels have classes an answer has more numbers
            than a message, a class has no pixel to train on, or an option is about routed images.
    """
    task, num_grouped = sources.task, len(grouped_classes(sources.task))
    if num_grouped < request.num_sub_models:
        beside = " beside the background" if shared_classes(task) else ""
        raise NuwaError(
            f"{num_grouped} classes{beside} for {request.num_sub_models} sub-models leave one of them without a class",
            hint=f"give at most {num_grouped} devices, or more classes",
        )
    if task.kind == "classification":
        return
    if task.train.masks is not None:  # a search notes it; of a group it could leave nothing to tell apart
        require_trained_classes(task, (task.train.masks.class_pixels(task.num_classes) > 0).sum(axis=0))
    for flag, is_given in (("--mean-ms", request.mean_ms is not None), ("--first-share", request.first_share != 1.0)):
        if is_given:
            raise NuwaError(
                f"{flag} is for images that are routed to one board first, and those of {task.data} have masks: a "
                "picture holds several classes, which no board alone is the expert of",
                hint=f"leave {flag} out: all boards are asked",
            )
    arch = sources.teacher_archs[0]
    if answer_values(arch) > MAX_VECTOR:
        raise NuwaError(
            f"scores of {task.num_classes} classes for each of {arch.num_patches} patches are {answer_values(arch)} "
            f"numbers from each board, and a message has {MAX_VECTOR} at most",
            hint="give fewer --classes, or a smaller --img-size",
        )


def require_trained_classes(task: Task, counts: npt.NDArray[np.int64]) -> None:
    """Refuse a class of a group that no training image shows: its sub-model might have nothing to tell apart.

    Args:
        task: Whose classes.
        counts: (C,) training images that each class is in.

    Raises:
        NuwaError: With the first such class.
    """
    for place in grouped_classes(task):
        if not counts[place]:
            raise NuwaError(
                f"class {task.class_names[place]!r} has no pixel in the training images of {task.data}, and a "
                "sub-model learns its classes from them",
                hint="name the other classes with --classes a,b,c, or give images that show it",
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
            vector = device.measure(answer_graph(model, device.spec), protocol=PROTOCOL)
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
        vector_dim=answer_values(arch),
        num_models=request.num_sub_models,
        fusion_ms=fusion_of_answers_ms(request, sources),
    )
    return slots_with_first(slots, boards, first_share=request.first_share)


def fusion_of_answers_ms(request: DecomposeRequest, sources: Sources) -> float:
    """Return what is left for the fusion, which reads more where it is of patches."""
    arch = sources.teacher_archs[0]
    return fusion_allowance_ms(request.num_sub_models * answer_values(arch) if arch.is_dense else 0)


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

    The base's confusion is taken on the search split. Where pixels have classes the background is in no group: every
    sub-model is searched with it beside its own.

    Args:
        request: What is asked for; ``groups`` names the way to group.
        inputs: Decoded images and the base with the task's head.
        boards: Devices with the latency of the base on each.
        slots: Board and budget of each sub-model; there are as many groups.
    """
    table, own = class_table(inputs), np.asarray(grouped_classes(inputs.task))
    require_trained_classes(inputs.task, table.counts)  # of what is left without copies
    confusion, num_groups = table.confusion[np.ix_(own, own)], len(slots)
    match request.groups:
        case "confusion":
            groups = group_by_confusion(confusion, num_groups=num_groups, seed=request.seed)
        case "balanced":
            groups = group_balanced(table.counts[own].tolist(), num_groups=num_groups)
        case "random":
            groups = group_at_random(len(own), num_groups=num_groups, seed=request.seed)
    errors = (table.confusion.sum(axis=1) - table.confusion.diagonal())[own]
    rooms = [slot.budget_ms / boards[slot.board].base_ms.median for slot in slots]
    matched = _matched(groups, errors, rooms)
    return ClassDivision(
        boards=tuple(boards),
        network=network_between(request, boards),
        slots=tuple(slots),
        groups=tuple(tuple(int(own[c]) for c in group) for group in matched),
        confusion_inside=confusion_inside(confusion, groups),
        fusion_ms=fusion_of_answers_ms(request, inputs),
        shared=shared_classes(inputs.task),
    )


def _matched(groups: Groups, errors: npt.NDArray[np.float64], rooms: Sequence[float]) -> Groups:
    """Give the group of most errors the slot of most room, and so on."""
    by_errors = sorted(groups, key=lambda group: (-float(errors[list(group)].sum()), group))
    by_room = sorted(range(len(rooms)), key=lambda k: (-rooms[k], k))
    matched = dict(zip(by_room, by_errors, strict=True))
    return tuple(matched[k] for k in range(len(rooms)))
