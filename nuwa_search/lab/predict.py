"""Predict a latency without touching the device."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nuwa_search.core.arch import Arch
from nuwa_search.core.counting import count
from nuwa_search.core.device import DeviceSpec, Provenance, device_json
from nuwa_search.core.img_size import ImgSize, img_size_from_value
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.models import arch_from_text
from nuwa_search.predictors.device_predictor import base_arch_for, board_interval, find_device_predictor
from nuwa_search.search.img_sizes import smaller_sizes
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class PredictorTable:
    """The latency table behind a predictor: its id and its rows."""

    id: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class LatencyPrediction(JsonFields):
    """What an arch is predicted to take on a device: the `nuwa.predict/1` answer.

    Args:
        schema: Of the document.
        device: Its part of the answer.
        arch_id: The shape.
        predicted_latency_ms: Point prediction in milliseconds.
        predicted_interval_ms: Lower and upper end; about the device as it can be measured here.
        board_interval_ms: How far a real board may be from the emulated one; None where nothing is emulated.
        coverage: Share of whole nets that the interval holds.
        table: Behind the predictor.
        predictor_id: Pins it: ``predictor=ID`` predicts the same again.
        provenance: ``measured``, ``emulated`` or ``transferred``: what the predictor was fitted to.
    """

    schema: str = "nuwa.predict/1"
    device: Mapping[str, object]
    arch_id: str
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    board_interval_ms: tuple[float, float] | None
    coverage: float
    table: PredictorTable
    predictor_id: str
    provenance: Provenance


def predict(
    store: Store,
    spec: DeviceSpec,
    arch: Arch | str,
    *,
    base: str | None,
    predictor_id: str | None,
    img_size: ImgSize | None = None,
) -> LatencyPrediction:
    """Predict the latency of an arch; an emulated device without a predictor for its base is profiled first.

    Args:
        store: The database.
        spec: The device.
        arch: The arch itself, or an arch id, an arch JSON file, a bundle, or a base.
        base: Whose subnet it is; None takes the package's base where it fits in, or the arch itself.
        predictor_id: Pins a predictor; None takes the newest.
        img_size: Predict the same net for images of this size in pixels; None for its own.

    Raises:
        NuwaError: If the text names no arch, a pinned predictor is of another device, or a real device was not
            profiled yet.
    """
    wanted = arch if isinstance(arch, Arch) else arch_from_text(arch, store)
    whose = base_arch_for(wanted, base)
    if img_size is not None:
        size = img_size_from_value(img_size, "img_size")
        smaller_sizes((size,), whose)
        wanted = replace(wanted, img_size=size)
    sizes = () if wanted.img_size == whose.img_size else (wanted.img_size,)
    start = find_device_predictor(store, spec, whose, predictor_id=predictor_id, img_sizes=sizes, progress=count)
    found = start.predictor.predict([wanted])
    value, low, high = (float(part[0]) for part in (found.value, found.lower, found.upper))
    board = board_interval(spec, wanted, value)
    return LatencyPrediction(
        device=device_json(spec),
        arch_id=wanted.arch_id,
        predicted_latency_ms=value,
        predicted_interval_ms=(low, high),
        board_interval_ms=None if board is None else (board[0], board[1]),
        coverage=start.predictor.coverage,
        table=PredictorTable(start.predictor.table_id, len(start.predictor.rows)),
        predictor_id=start.predictor_id,
        provenance=start.predictor.subject.provenance,
    )
