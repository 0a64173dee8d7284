"""A collaboration on disk: the sub-models, where each runs, how they are fused, and what that was predicted to do.

collaboration.json     this, ``nuwa.collaboration/1``
fusion.npz             parameters of the fusion (``nuwa_search.deploy.collaborate.fusion``)
MODEL FILE             one ONNX graph per sub-model, from ``images`` (1, 3, H, W) to one vector (1, d), or where pixels
                       have classes to scores of every patch (1, P, C)
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nuwa_search.core import checked
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import checked_img_size, num_pixels_of
from nuwa_search.core.licence import Licence
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.collaborate.folder import COLLABORATION
from nuwa_search.deploy.collaborate.fusion import Fusion, read_fusion, write_fusion
from nuwa_search.deploy.collaborate.network import (
    MAX_BOARDS,
    Network,
    board_name,
    network_from_json,
    network_to_json,
)
from nuwa_search.deploy.collaborate.rival import Rival
from nuwa_search.deploy.collaborate.way_figures import MODES, ModeFigures
from nuwa_search.deploy.file_hashes import hash_file

SCHEMA = "nuwa.collaboration/1"
FUSION = "fusion.npz"
InputKind = Literal["normalised", "unit", "uint8"]
MAX_VECTOR = 65_536
"""Numbers in one vector: 85 times a ViT-B's class token; its message has 256 KiB."""
MAX_CLASSES = 100_000
MAX_PIXEL_LABELS = 255
"""Ids 0 to 254 of a label map of 8 bits: 255 is of no class (``core.tasks.masks.IGNORED``)."""
MAX_IMG_SIZE = 4096
_HINT = "nuwa decompose writes such a folder"


@dataclass(frozen=True)
class Part:
    """One sub-model and where it runs.

    Args:
        name: Of the sub-model.
        board: Name of the board that runs it; a board may run several, one after the other. Both names are letters,
            digits, - and _.
        device: The device it was searched for, such as ``jetson-nano``.
        classes: Indices into the labels: the classes that it is the expert of. None for the gate, which knows all
            and is asked by ``route`` alone.
        vector_dim: Numbers in its answer: of its vector, or where pixels have classes of all patches together.
        model: ONNX file, relative to the folder.
        model_sha256: Of that file.
        precision: It was searched at.
        predicted_ms: Median latency on its device.
        predicted_p95_ms: 95th percentile of the same.
        provenance: Of that latency.
        input_kind: What the graph takes, as in a bundle's certificate.
        top1: Of the sub-model alone over all labels, where known.
        bundle: Folder of its bundle, relative to the folder; empty where there is none.
        miou: Of the sub-model alone, where pixels have classes and it is known.
    """

    name: str
    board: str
    device: str
    classes: tuple[int, ...]
    vector_dim: int
    model: str
    model_sha256: str
    precision: Literal["fp32", "fp16", "int8"]
    predicted_ms: float
    predicted_p95_ms: float
    provenance: Literal["measured", "emulated", "transferred"]
    input_kind: InputKind = "normalised"
    top1: float | None = None
    bundle: str = ""
    miou: float | None = None

    def __post_init__(self) -> None:
        board_name(self.name, "name of a sub-model")
        board_name(self.board, f"board of {self.name}")
        checked.items(self.classes, f"classes of {self.name}", min_items=0, max_items=MAX_CLASSES)
        checked.integer(self.vector_dim, f"vector_dim of {self.name}", low=1, high=MAX_VECTOR)
        checked.relative_name(self.model, f"model of {self.name}")
        if self.bundle:
            checked.relative_name(self.bundle, f"bundle of {self.name}")
        if len(self.model_sha256) != 64 or set(self.model_sha256) - set("0123456789abcdef"):
            raise NuwaError(f"model_sha256 of {self.name} must be 64 hex digits", hint=_HINT)
        low = checked.finite(self.predicted_ms, f"predicted_ms of {self.name}", above=0, high=1e6)
        checked.finite(self.predicted_p95_ms, f"predicted_p95_ms of {self.name}", low=low, high=1e6)
        for told in (self.top1, self.miou):
            if told is not None:
                checked.finite(told, f"accuracy of {self.name}", low=0, high=1)


@dataclass(frozen=True)
class Collaboration:
    """A decomposition of one base over several boards.

    Args:
        labels: Names of the classes, in the order of the fused logits.
        parts: The sub-models, in the order of the fusion.
        modes: At most one entry per mode; the first is the one that was chosen.
        preprocess: How images are made.
        base: Name of the base.
        licence: Of the base's weights.
        network: Figures that the predictions are made with.
        fusion_ms: Of one fusion on the coordinator.
        budget_ms: End to end; None where none was given.
        rival: None where none was searched.
        grouping: How classes were divided: ``random``, ``balanced``, ``confusion`` or ``given``.
        seed: Of the decomposition.
        notes: What a person should know.
        grid: Patches one below the other, and side by side, where pixels have classes: every answer is then scores
            (P, C) of each patch's classes, row by row. None where images have classes.
        shared_classes: Indices into the labels that no sub-model is the only expert of: the background of pixels,
            which each tells from its own classes.
    """

    labels: tuple[str, ...]
    parts: tuple[Part, ...]
    modes: tuple[ModeFigures, ...]
    preprocess: Preprocess
    base: str
    licence: Licence
    network: Network
    fusion_ms: float
    budget_ms: float | None = None
    rival: Rival | None = None
    grouping: str = "given"
    seed: int = 0
    notes: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    shared_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        checked.items(self.labels, "labels", min_items=2, max_items=MAX_CLASSES)
        checked.items(self.parts, "parts", min_items=1, max_items=MAX_BOARDS)
        checked.items(self.modes, "modes", min_items=1, max_items=len(MODES))
        checked_img_size(self.preprocess.img_size, high=MAX_IMG_SIZE)
        checked.finite(self.fusion_ms, "fusion_ms", low=0, high=1e6)
        if len(self.preprocess.mean) != 3:
            raise NuwaError("a collaboration takes images of three channels", hint=_HINT)
        if self.budget_ms is not None:
            checked.finite(self.budget_ms, "budget_ms", above=0, high=1e6)
        if len(set(self.labels)) < len(self.labels):
            raise NuwaError("the collaboration names a label twice", hint=_HINT)
        _check_distinct([part.name for part in self.parts], "sub-model")
        _check_distinct([figures.mode for figures in self.modes], "mode")
        _check_classes(self.parts, len(self.labels), shared=self.shared_classes)
        wrong = "miou" if self.grid is None else "top1"
        scored = (*self.parts, *self.modes, *([] if self.rival is None else [self.rival]))
        if any(getattr(one, wrong) is not None for one in scored):
            has = "images" if self.grid is None else "pixels"
            raise NuwaError(f"the collaboration has classes of {has}, and a {wrong} beside them", hint=_HINT)
        if self.grid is not None:
            self._check_grid(self.grid)
        elif self.shared_classes:
            raise NuwaError("classes are shared by sub-models only where pixels have classes", hint=_HINT)
        for board in self.boards:
            self.network.link(board)
        if sum(not part.classes for part in self.parts) > 1:
            raise NuwaError("the collaboration has two sub-models without classes", hint=_HINT)
        for figures in self.modes:
            if figures.needed is not None:
                checked.integer(figures.needed, "needed of any", low=1, high=sum(bool(p.classes) for p in self.parts))
            if figures.first is not None:
                checked.integer(figures.first, "first of route", low=0, high=len(self.parts) - 1)
            for place in (place for step in figures.steps for one in step.rounds for place in one):
                checked.integer(place, "sub-model of a routed image", low=0, high=len(self.parts) - 1)

    def _check_grid(self, grid: tuple[int, int]) -> None:
        """Hold patches against answers and modes: a picture holds several classes, and nobody alone is its expert."""
        if len(self.labels) > MAX_PIXEL_LABELS:
            raise NuwaError(
                f"{len(self.labels)} classes of pixels, and label maps of 8 bits tell {MAX_PIXEL_LABELS} apart",
                hint=_HINT,
            )
        for side in grid:
            checked.integer(side, "side of the grid of patches", low=1, high=MAX_IMG_SIZE)
        for part in self.parts:
            if part.vector_dim != self.num_rows * len(self.labels):
                raise NuwaError(
                    f"{part.name} answers with {part.vector_dim} numbers, wanted {len(self.labels)} for each of "
                    f"{self.num_rows} patches",
                    hint=_HINT,
                )
        if self.gate is not None or any(figures.mode == "route" for figures in self.modes):
            raise NuwaError("where pixels have classes images are not routed", hint=_HINT)

    @property
    def num_rows(self) -> int:
        """Rows of an answer: patches of a picture where pixels have classes, else one."""
        return 1 if self.grid is None else self.grid[0] * self.grid[1]

    @property
    def fused_dims(self) -> tuple[int, ...]:
        """Numbers of each sub-model that are fused at once: those of one row."""
        return tuple(dim // self.num_rows for dim in self.vector_dims)

    @cached_property
    def boards(self) -> tuple[str, ...]:
        """Names of the boards, in the order of their first sub-model."""
        return tuple(dict.fromkeys(part.board for part in self.parts))

    @property
    def vector_dims(self) -> tuple[int, ...]:
        return tuple(part.vector_dim for part in self.parts)

    @property
    def gate(self) -> int | None:
        """Index of the sub-model that knows all classes and is asked by ``route`` alone; None where there is none."""
        return next((i for i, part in enumerate(self.parts) if not part.classes), None)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image on its way to a board: (H, W, 3) uint8."""
        return num_pixels_of(self.preprocess.img_size) * 3

    def parts_on(self, board: str) -> tuple[int, ...]:
        """Indices of the sub-models that a board runs."""
        return tuple(i for i, part in enumerate(self.parts) if part.board == board)

    def figures(self, mode: str) -> ModeFigures:
        """Return the entry of a mode.

        Raises:
            NuwaError: If the collaboration was not prepared for it.
        """
        for figures in self.modes:
            if figures.mode == mode:
                return figures
        known = ", ".join(figures.mode for figures in self.modes)
        raise NuwaError(f"this collaboration has no mode {mode!r}", hint=f"it has {known}")


def write_collaboration(folder: Path, collaboration: Collaboration, fusion: Fusion) -> None:
    """Write a collaboration whose model files lie in the folder already.

    Raises:
        NuwaError: If a model file is missing or has another hash, or the fusion is of other shapes.
    """
    if fusion.vector_dims != collaboration.fused_dims or fusion.num_classes != len(collaboration.labels):
        raise NuwaError("the fusion was made for other sub-models or classes", hint=_HINT)
    _check_models(folder, collaboration)
    write_fusion(folder / FUSION, fusion)
    text = json.dumps(collaboration_to_json(collaboration), indent=1, ensure_ascii=False)
    (folder / COLLABORATION).write_text(text + "\n", encoding="utf-8")


def collaboration_to_json(collaboration: Collaboration) -> dict[str, Any]:
    """Render a collaboration as ``nuwa.collaboration/1``."""
    return {"schema": SCHEMA, **asdict(collaboration), "network": network_to_json(collaboration.network)}


def collaboration_from_json(values: object, *, where: str) -> Collaboration:
    """Read what ``collaboration_to_json`` wrote.

    Raises:
        NuwaError: If it is of another schema, or a value is missing, unknown or out of range.
    """
    found = dict(checked.mapping(values, where))
    schema = found.pop("schema", None)
    if schema != SCHEMA:
        raise NuwaError(f"{where} is {checked.shown(schema)}, wanted {SCHEMA}", hint=_HINT)
    network = network_from_json(checked.field(found, "network", where=where), where=f"{where}: network")
    found["network"] = {**asdict(network), "links": [asdict(link) for link in network.links]}
    return record_from_dict(Collaboration, found, where=where)


def read_collaboration(folder: Path) -> tuple[Collaboration, Fusion]:
    """Read a collaboration, and hold its files against it.

    Raises:
        NuwaError: If the folder holds none, or a file of it is missing, damaged or of another one.
    """
    collaboration = collaboration_of(folder)
    _check_models(folder, collaboration)
    fusion = read_fusion(folder / FUSION, vector_dims=collaboration.fused_dims, num_classes=len(collaboration.labels))
    return collaboration, fusion


def collaboration_of(folder: Path) -> Collaboration:
    """Read what a folder says of its collaboration, without its models and its fusion.

    Raises:
        NuwaError: If the folder holds none, or one that cannot be.
    """
    path = folder / COLLABORATION
    if not folder.is_dir():
        raise NuwaError(f"there is no folder {folder}", hint=_HINT)
    values = read_object(path, what="collaboration", hint=_HINT)
    return collaboration_from_json(values, where=f"collaboration {path}")


def _check_models(folder: Path, collaboration: Collaboration) -> None:
    for part in collaboration.parts:
        path = folder / part.model
        if not path.is_file():
            raise NuwaError(f"model {path} of sub-model {part.name!r} is missing", hint=_HINT)
        if hash_file(path) != part.model_sha256:
            raise NuwaError(f"model {path} is not the one that sub-model {part.name!r} was made with", hint=_HINT)


def _check_distinct(names: Sequence[str], kind: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NuwaError(f"the collaboration names {kind} {checked.shown(twice)} twice", hint=_HINT)


def _check_classes(parts: Sequence[Part], num_classes: int, *, shared: Sequence[int]) -> None:
    """Every class has an expert, and no class two; those that are shared have none."""
    owners = [-1] * num_classes
    for index in shared:
        owners[checked.integer(index, "shared class", low=0, high=num_classes - 1)] = len(parts)
    for place, part in enumerate(parts):
        for index in part.classes:
            at = checked.integer(index, f"class of {part.name}", low=0, high=num_classes - 1)
            if owners[at] == len(parts):
                raise NuwaError(f"class {at} is shared by all sub-models, and {part.name} names it as its own")
            if owners[at] != -1:
                raise NuwaError(f"class {at} belongs to two sub-models: {parts[owners[at]].name} and {part.name}")
            owners[at] = place
    if -1 in owners:
        raise NuwaError(f"class {owners.index(-1)} belongs to no sub-model", hint=_HINT)
