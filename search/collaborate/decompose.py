"""Decompose a base over several devices: groups, searches, distillation, fusion, placement, and the rival beside it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from nuwa_search.core.cache import Cache
from nuwa_search.core.counting import counts_to
from nuwa_search.core.device import Device
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.collaborate.folder import is_collaboration
from nuwa_search.latency.devices.find import find_device, opened_device
from nuwa_search.search.collaborate.answer import Decomposed
from nuwa_search.search.collaborate.find_part import find_part
from nuwa_search.search.collaborate.finish import finish
from nuwa_search.search.collaborate.gate import gate_of
from nuwa_search.search.collaborate.place_parts import place_parts
from nuwa_search.search.collaborate.prepare import divide_classes, open_boards, planned_slots, require_images
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.score_rival import RIVAL
from nuwa_search.search.collaborate.searched import Searched, SearchedRival
from nuwa_search.search.collaborate.train_parts import begin_ensemble, distil_parts, train_config, train_together
from nuwa_search.search.collaborate.vector_graph import vector_graph
from nuwa_search.search.job.inputs import Inputs, decode_inputs, open_sources, record_inputs
from nuwa_search.search.recording.collaborations import record_collaboration
from nuwa_search.search.request import SearchRequest


def run_decompose(run: DecomposeRun) -> Decomposed:
    """Find sub-models and rival, train them together, and score every way to use the boards.

    The same call goes on with what an earlier one of the same study left.

    Raises:
        NuwaError: If input is wrong, or a search of this name was begun with other options.
        NoAnswerError: If a sub-model finds nothing within its own budget, or memory does not suffice.
        KeyboardInterrupt: On Ctrl-C, with everything saved.
    """
    with opened_decomposition(run) as opened:
        inputs, division = opened.inputs, opened.division
        parts, studies = search_parts(run, opened)
        searched = Searched(parts, studies, search_rival(run, opened))
        students = [bundle.load_model() for bundle in parts]
        tuned = distil_parts(run, inputs, division, students)
        ensemble = begin_ensemble(run, inputs, tuned, searched=students)
        train_together(run, inputs, ensemble)
        placed = place_parts(run, inputs, division, ensemble, opened.devices)
        rival, devices = searched.rival, opened.devices
        gate = gate_of(run, inputs, division, placed=placed, rival=rival, devices=devices)
        found = finish(run, inputs, division, ensemble, placed=placed, searched=searched, gate=gate)
        record_collaboration(run.store, inputs, found)
        return found


@dataclass(frozen=True)
class OpenedDecomposition:
    """What a decomposition works on.

    Args:
        inputs: Of the whole task, decoded.
        division: Devices, budgets and groups.
        devices: Open, by name.
    """

    inputs: Inputs
    division: ClassDivision
    devices: Mapping[str, Device]


@contextmanager
def opened_decomposition(run: DecomposeRun) -> Iterator[OpenedDecomposition]:
    """Check what is asked for, open the devices, decode the images, and plan groups and budgets.

    Raises:
        NuwaError: If input is wrong.
        NoAnswerError: If network and fusion take the whole budget.
    """
    request = run.request
    _check_folder(run)
    whole = request.search_of(request.devices[0], request.budget_ms, classes=request.classes, folder="")
    with ExitStack() as stack:
        stack.enter_context(counts_to(run.hooks.count))
        sources = open_sources(whole, run.store, cache_dir=run.cache_dir)
        require_images(sources, request)
        devices: dict[str, Device] = {}
        for name in dict.fromkeys(request.devices):
            spec = find_device(name, run.store)
            devices[name] = stack.enter_context(opened_device(spec, seed=request.seed, store=run.store))
        boards = open_boards(run, sources, devices)
        slots = planned_slots(request, boards, sources)
        record_inputs(sources, run.store, label_column=request.label_column, seed=request.seed)
        inputs = decode_inputs(sources, cache=Cache(run.cache_dir / "task"))
        division = divide_classes(request, inputs, boards, slots)
        _say_plan(run, division)
        yield OpenedDecomposition(inputs, division, devices)


def search_parts(run: DecomposeRun, opened: OpenedDecomposition) -> tuple[tuple[Bundle, ...], tuple[str, ...]]:
    """Search every sub-model on its own device; their bundles and studies.

    The expert of a single class has nothing to tell apart within its group: its search sees all classes. Where pixels
    have classes every group has the background beside it, and what belongs to others' classes becomes background.
    The images that it trains on and holds out are the whole task's: no choice of classes moves them.

    Raises:
        NoAnswerError: If one finds nothing within its own budget.
    """
    division, task = opened.division, opened.inputs.task
    names, has_pixels = task.class_names, task.kind == "segmentation"
    studies = tuple(f"{run.study}-{division.name_of(k)}" for k in range(len(division.slots)))
    parts = []
    for place, (slot, group, study) in enumerate(zip(division.slots, division.groups, studies, strict=True)):
        board = division.board_of(place)
        request = run.request.search_of(
            board.spec.name,
            slot.budget_ms,
            classes=tuple(names[c] for c in group) if len(group) > 1 or has_pixels else run.request.classes,
            folder=str((run.folder / "searches" / division.name_of(place)).absolute()),
        )
        what = f"{division.name_of(place)} of {len(studies)}, {len(group)} classes for {board.name}"
        parts.append(_found(run, request, what=what, study=study))
    return tuple(parts), studies


def search_rival(run: DecomposeRun, opened: OpenedDecomposition) -> SearchedRival:
    """Search one subnet for the fastest board with the whole budget.

    It is fine-tuned for as many steps as each sub-model sees: for its group, and with all others. Where pixels have
    classes it is timed once more as the boards are, to the scores of patches: a search times it to those of pixels.

    Raises:
        NoAnswerError: If nothing keeps the budget.
    """
    fastest = min(opened.division.boards, key=lambda board: board.base_ms.median)
    study = f"{run.study}-{RIVAL}"
    request = run.request.search_of(
        fastest.spec.name,
        run.request.budget_ms,
        classes=run.request.classes,
        folder=str((run.folder / RIVAL).absolute()),
        finetune=2 * train_config(run, opened.inputs).steps,
    )
    bundle = _found(run, request, what="one subnet for one board", study=study)
    patches_ms = None
    if opened.inputs.task.kind == "segmentation":
        tensors, device = opened.inputs.tensors, opened.devices[fastest.spec.name]
        timed = vector_graph(bundle.load_model(), device, search=tensors.search, preprocess=tensors.preprocess)
        patches_ms = timed.measurement.latency_ms.median
    return SearchedRival(bundle, study, fastest.spec.name, patches_ms)


def _found(run: DecomposeRun, request: SearchRequest, *, what: str, study: str) -> Bundle:
    return find_part(request, what=what, study=study, store=run.store, cache_dir=run.cache_dir, hooks=run.hooks)


def _say_plan(run: DecomposeRun, division: ClassDivision) -> None:
    beside = " beside the background" if division.shared else ""
    for place, slot in enumerate(division.slots):
        board = division.board_of(place)
        run.hooks.step(
            f"{division.name_of(place)}: {len(division.groups[place])} classes{beside}, {slot.budget_ms:.2f} ms of its "
            f"own on {board.name}, where the base takes {board.base_ms.median:.2f} ms"
        )
    between = " between classes other than the background" if division.shared else ""
    run.hooks.step(f"{100 * division.confusion_inside:.0f} % of the base's confusion{between} lies inside the groups")


def _check_folder(run: DecomposeRun) -> None:
    """Refuse a folder that holds something else.

    Raises:
        NuwaError: If it is not empty, and neither a collaboration nor one on the way.
    """
    folder = run.folder
    if folder.exists() and not folder.is_dir():
        raise NuwaError(f"{folder} is a file", hint="choose another folder with -o")
    if not folder.is_dir() or is_collaboration(folder) or not any(folder.iterdir()):
        return
    if not (folder / "searches").is_dir():
        raise NuwaError(f"{folder} is not empty, and no collaboration", hint="choose another folder with -o")
