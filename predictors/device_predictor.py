"""The latency predictor of a device for a base: pinned, reused, or fitted now where the device is emulated."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, size_words
from nuwa_search.core.runtime import KeepsEngines
from nuwa_search.core.source_name import PACKAGED_BASE
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.latency.devices.pool_spec import is_pool, one_board_of
from nuwa_search.latency.devices.registry import open_device
from nuwa_search.latency.table.kit import KitResults, import_kit
from nuwa_search.latency.table.store_notebook import StoreNotebook
from nuwa_search.latency.table.timer import Export
from nuwa_search.latency.table.watch import Watch
from nuwa_search.predictors.kit_plan import plan_kit, rows_of
from nuwa_search.predictors.latency.predictor import LatencyPredictor, subject_of
from nuwa_search.predictors.profile import ProfileResult, ProfileSettings, profile
from nuwa_search.predictors.report_picture import HELDOUT, heldout_json
from nuwa_search.predictors.transfer_profile import TransferResult, profile_by_transfer
from nuwa_search.store.luts import make_lut_id
from nuwa_search.store.records import PredictorRecord
from nuwa_search.store.same_device import require_predictor_of
from nuwa_search.store.store import Store

UNKNOWN_SD = 0.01
"""Relative repeatability taken where a profile did not record one: of a pinned board, rounded up."""

EXPORTS_KEPT = 256
"""More than a profile has whole nets, of about 0.1 MB each."""

Progress = Callable[[str, int, int | None], None]
OnFirst = Callable[[float], None]


@dataclass(frozen=True)
class DevicePredictor:
    """A device with the predictor that a job starts from.

    Args:
        spec: The device.
        predictor: Fitted.
        predictor_id: In the database.
        profiled: What the profile did; None where nothing was measured.
        relative_sd: How well one measurement repeats there, as a share of it.
    """

    spec: DeviceSpec
    predictor: LatencyPredictor
    predictor_id: str
    profiled: ProfileResult | None
    relative_sd: float = UNKNOWN_SD


def find_device_predictor(
    store: Store,
    spec: DeviceSpec,
    base: Arch,
    *,
    predictor_id: str | None = None,
    img_sizes: Sequence[ImgSize] = (),
    progress: Progress | None = None,
) -> DevicePredictor:
    """Find the predictor of ``spec`` for subnets of ``base``, or profile an emulated device now.

    One that knows the further image sizes comes before a newer one that does not; a pinned one, and a board's, is
    taken as it is.

    Args:
        store: The database.
        spec: The device.
        base: Shape of the base.
        predictor_id: Id of the predictor to take; None for the newest that knows ``img_sizes``, else the newest.
        img_sizes: Further image sizes in pixels at which subnets are to be predicted.
        progress: Called with a label, steps done and steps in all while a device is profiled; None for no calls.

    Raises:
        NuwaError: If a pinned predictor is of another device, or a real device was not profiled yet.
    """
    known = find_known_predictor(store, spec, base, predictor_id=predictor_id, img_sizes=img_sizes)
    is_replaced = spec.kind == "emulated" and predictor_id is None
    if known is not None and (knows_sizes(known.predictor, base, img_sizes) or not is_replaced):
        return known
    if spec.kind != "emulated":
        raise NuwaError(
            f"device {spec.name} has no latency predictor for this base yet",
            hint=f"measure its table first: nuwa profile {spec.name} --base BASE",
        )
    settings = ProfileSettings(num_heldout=30, img_sizes=tuple(img_sizes))
    return run_profile(store, spec, base, settings=settings, progress=progress)


def knows_sizes(predictor: LatencyPredictor, base: Arch, img_sizes: Sequence[ImgSize]) -> bool:
    """Whether subnets of ``base`` at all these image sizes are predicted: sizes between profiled ones are."""
    counts = [dataclasses.replace(base, img_size=size).num_tokens for size in img_sizes]
    own = base.num_tokens
    return all(count == own or (predictor.tokens and predictor.tokens[0] <= count <= own) for count in counts)


def find_known_predictor(
    store: Store,
    spec: DeviceSpec,
    base: Arch,
    *,
    predictor_id: str | None = None,
    img_sizes: Sequence[ImgSize] = (),
) -> DevicePredictor | None:
    """Find the predictor of ``spec`` for subnets of ``base``, if possible at further image sizes; None without any.

    Args:
        store: The database.
        spec: The device.
        base: Shape of the base.
        predictor_id: Id of the predictor to take; None for the newest that knows ``img_sizes``, else the newest.
        img_sizes: Further image sizes in pixels; a predictor that knows them is preferred.

    Raises:
        NuwaError: If a pinned predictor is of another device.
    """
    if predictor_id is not None:
        record = store.load_predictor(predictor_id)
        require_predictor_of(spec, record, store)
        return _from_record(record, spec)
    first: DevicePredictor | None = None
    for record in store.predictors(spec.device_id):
        if record.content.get("base_arch_id") == base.arch_id and (first is None or img_sizes):
            found = _from_record(record, spec)
            if knows_sizes(found.predictor, base, img_sizes):
                return found
            first = first or found
    return first


def run_profile(
    store: Store,
    spec: DeviceSpec,
    base: Arch,
    *,
    settings: ProfileSettings | None = None,
    protocol: MeasureProtocol = PROTOCOL,
    progress: Progress | None = None,
    on_first: OnFirst | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> DevicePredictor:
    """Measure what the device's table lacks for ``base``, fit, and save the predictor with its report card.

    Args:
        store: The database.
        spec: The device.
        base: Shape of the base.
        settings: How much is measured; None for the defaults.
        protocol: How each net is measured.
        progress: Called with a label, steps done and steps in all; None for no calls.
        on_first: Called with the seconds that the first net took, its engine's build included; None for no call.
        clock: Returns the time in seconds; deadlines are read from it.
    """
    store.record_device(spec)
    with opened_device(spec, keeps_engines=True, store=store) as device:
        result = profile(
            device,
            base,
            export=exporter_of(spec),
            notebook=StoreNotebook(store, device=spec, protocol=protocol),
            reopen=lambda session: device if is_pool(spec) else session_of(spec, session),
            protocol=protocol,
            settings=settings,
            watch=Watch(progress=progress, on_first=on_first, clock=clock),
        )
        _clear(device)
    predictor = result.predictor
    record = PredictorRecord(
        predictor_id=predictor.predictor_id,
        device_id=spec.device_id,
        lut_id=make_lut_id(spec.device_id, protocol.protocol_id),
        content={
            "base_arch_id": base.arch_id,
            "predictor": predictor.to_dict(),
            "relative_sd": result.relative_sd,
        },
        report=result.report.to_json()
        | {HELDOUT: heldout_json(predictor, result.heldout)}
        | (
            {"by_size": {size_words(k): card.to_json() for k, card in result.by_size.items()}} if result.by_size else {}
        ),
    )
    store.save_predictor(record)
    return DevicePredictor(spec, predictor, predictor.predictor_id, result, result.relative_sd)


def transfer_profile(
    store: Store,
    spec: DeviceSpec,
    base: Arch,
    *,
    source: DeviceSpec,
    minutes: float | None = None,
    progress: Progress | None = None,
    on_first: OnFirst | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[DevicePredictor, TransferResult]:
    """Scale the predictor of ``source`` to ``spec`` with at most ten measurements, and save it.

    Args:
        store: The database.
        spec: The new device.
        base: Shape of the base.
        source: Device whose predictor is scaled; profiled first where it is emulated and has none.
        minutes: Time limit in minutes, after which no further net is measured; None for no limit.
        progress: Called with a label, steps done and steps in all; None for no calls.
        on_first: Called with the seconds that the first net took, its engine's build included; None for no call.
        clock: Returns the time in seconds; the time limit is read from it.

    Raises:
        NuwaError: If the source has no predictor for this base and is no emulated device.
    """
    begun = clock()
    store.record_device(spec)
    known = find_device_predictor(store, source, base, progress=progress)
    with opened_device(spec, keeps_engines=True, store=store) as device:
        result = profile_by_transfer(
            device,
            base,
            source=known.predictor,
            export=exporter_of(spec),
            notebook=StoreNotebook(store, device=spec, protocol=PROTOCOL),
            protocol=PROTOCOL,
            watch=Watch(
                progress=progress,
                on_first=on_first,
                deadline=None if minutes is None else begun + 60 * minutes,
                clock=clock,
            ),
        )
        _clear(device)
    return _saved(store, spec, base, result.predictor, report={"transferred_from": source.name}), result


def kit_profile(store: Store, spec: DeviceSpec, base: Arch, *, folder: Path) -> tuple[DevicePredictor, KitResults]:
    """Read what a kit's script measured, keep it, fit, and save the predictor.

    Args:
        store: The database.
        spec: The device.
        base: Shape of the base.
        folder: Folder of the kit, with what its script measured.

    Raises:
        NuwaError: If the folder holds no kit of this device, or too few nets were measured.
    """
    store.record_device(spec)
    found = import_kit(folder, spec=spec, protocol=PROTOCOL)
    notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
    rows = rows_of(plan_kit(base), found.models, base=base)
    for row in rows:
        notebook.add_row(row)
    for arch, measurement in found.models:
        notebook.add_model(arch, measurement)
    nets = [(arch, m.latency_ms.median) for arch, m in found.models if m.state.get("role") == "fit"]
    predictor = LatencyPredictor(rows, subject=subject_of(spec, protocol_id=PROTOCOL.protocol_id))
    predictor.fit([arch for arch, _ in nets], [ms for _, ms in nets])
    return _saved(store, spec, base, predictor, report={"imported_from": str(folder)}), found


def _clear(device: Device) -> None:
    """Leave no engine behind once everything is in the notebook."""
    if isinstance(device, KeepsEngines):
        device.forget_all()


def _saved(
    store: Store, spec: DeviceSpec, base: Arch, predictor: LatencyPredictor, *, report: dict[str, Any]
) -> DevicePredictor:
    content = {"base_arch_id": base.arch_id, "predictor": predictor.to_dict()}
    store.save_predictor(PredictorRecord(predictor.predictor_id, spec.device_id, None, content, report))
    return DevicePredictor(spec, predictor, predictor.predictor_id, None)


def exporter_of(spec: DeviceSpec) -> Export:
    """Make ONNX models of archs in the opset that the device takes; emulated devices need no weights.

    Models without weights are small, and a profile measures each many times: they are kept.
    """
    is_emulated, precision = spec.kind == "emulated", graph_precision(spec)

    def export(arch: Arch) -> onnx.ModelProto:
        return onnx_from_arch(
            arch, opset=spec.opset, precision=precision, batch=spec.batch, has_weights=not is_emulated
        )

    return lru_cache(EXPORTS_KEPT)(export) if is_emulated else export


def session_of(spec: DeviceSpec, session: int) -> Device:
    """Open a further session with a device."""
    return open_device(spec, seed=session + 1)


def _from_record(record: PredictorRecord, spec: DeviceSpec) -> DevicePredictor:
    predictor = LatencyPredictor.from_dict(record.content["predictor"])
    relative_sd = float(record.content.get("relative_sd", UNKNOWN_SD))
    return DevicePredictor(spec, predictor, record.predictor_id, None, relative_sd)


def board_interval(spec: DeviceSpec, arch: Arch, predicted_ms: float) -> list[float] | None:
    """Scale the emulator's distance from real boards, as a measurement of ``arch`` states it, to a prediction.

    Returns:
        Low and high end in milliseconds; None for devices that are not emulated.
    """
    if spec.kind != "emulated":
        return None
    with opened_device(one_board_of(spec)) as device:
        found = device.measure(exporter_of(spec)(arch), protocol=PROTOCOL)
    if found.board_interval_ms is None:
        return None
    return [end / found.latency_ms.median * predicted_ms for end in found.board_interval_ms]


def base_arch_for(arch: Arch, base: str | None) -> Arch:
    """Find whose subnets ``arch`` is among: the named base, the package's where it fits in, or itself."""
    if base is not None:
        return load_base(base).arch
    default = load_base(PACKAGED_BASE).arch
    return default if _is_cut_from(arch, default) else arch


def _is_cut_from(arch: Arch, base: Arch) -> bool:
    same = ("img_size", "patch_size", "in_chans", "num_prefix_tokens", "global_pool", "act", "rope_dim")
    if any(getattr(arch, name) != getattr(base, name) for name in same) or arch.embed_dim > base.embed_dim:
        return False
    widest = base.blocks[0]
    return arch.depth <= base.depth and all(block.fits_in(widest) for block in arch.blocks)
