"""Export and build a bundle for a device, and record both."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.build import BuildAnswer, BuildRequest, build_engine_in
from nuwa_search.deploy.bundle import ENGINE, read_bundle
from nuwa_search.deploy.device_bundles import bundle_for
from nuwa_search.deploy.export_bundle import ExportAnswer, ExportRequest, export_bundle
from nuwa_search.deploy.precision import spec_with_precision
from nuwa_search.deploy.quantise_bundle import Int8Images, quantise_bundle
from nuwa_search.lab.export_request import ExportWishes
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.search.recording.steps import record_built, record_reexport, said_not_raised
from nuwa_search.store.store import Store

Say = Callable[[str], None]


def replaced_export(folder: Path, spec: DeviceSpec, precision: Precision | None) -> str | None:
    """Name the device whose export a new one for ``spec`` replaces; None where there is none, or its own.

    Raises:
        NuwaError: If the folder is no bundle, or the device does not compute in that precision.
    """
    if precision != "int8":
        spec_with_precision(spec, precision)
    known = read_bundle(bundle_for(folder, spec.name)).certificate
    return known.device.name if known is not None and known.device.name != spec.name else None


def replaced_engine(folder: Path, spec: DeviceSpec) -> Path | None:
    """Name the engine that a build for ``spec`` here replaces; None where there is none, or the board builds."""
    engine = bundle_for(folder, spec.name) / ENGINE
    return engine if spec.kind == "cuda" and engine.exists() else None


def export(
    store: Store, folder: Path, spec: DeviceSpec, wishes: ExportWishes, *, replace: bool, say: Say
) -> ExportAnswer:
    """Write the ONNX model of a bundle for a device, with a fresh certificate, and record it.

    Args:
        store: The database.
        folder: The bundle.
        spec: The device.
        wishes: How.
        replace: Whether an export for another device may be replaced.
        say: Told what could not be recorded.

    Raises:
        NuwaError: If the folder is no bundle, or the device cannot take its model.
        NoAnswerError: If the export does not agree with the weights.
    """
    other = None if replace else replaced_export(folder, spec, wishes.precision)
    if other is not None:
        raise NuwaError(f"{folder} is exported for {other}, and certified there", hint="replace=True replaces both")
    folder = bundle_for(folder, spec.name)
    is_int8 = wishes.precision == "int8"
    request = ExportRequest(
        spec=spec if is_int8 else spec_with_precision(spec, wishes.precision),
        open_device=partial(opened_device, store=store),
        budget_ms=wishes.budget_ms,
        statistic=wishes.budget_statistic,
        seed=wishes.seed,
        trim_tokens=wishes.trim_tokens,
        input_kind=wishes.input_kind,
        output_kind=wishes.output_kind,
    )
    if is_int8:
        images = Int8Images(wishes.base, wishes.data, wishes.label_column, wishes.seed)
        answer: ExportAnswer = quantise_bundle(folder, request, images=images, max_loss=wishes.max_loss)
    else:
        answer = export_bundle(folder, request)
    with said_not_raised(say):
        record_reexport(store, folder)
    return answer


def build(store: Store, folder: Path, request: BuildRequest, *, replace: bool, say: Say) -> BuildAnswer:
    """Build the engine of a bundle on this machine's GPU, or name the line that builds it on the board.

    Args:
        store: The database.
        folder: The bundle.
        request: The device, and how.
        replace: Whether an engine that is there may be replaced.
        say: Told what could not be recorded.

    Raises:
        NuwaError: If the bundle was exported for another device, or the device has no engines.
        NoAnswerError: If the engine does not agree with the weights.
    """
    engine = None if replace else replaced_engine(folder, request.spec)
    if engine is not None:
        raise NuwaError(f"there is an engine already: {engine}", hint="replace=True replaces it")
    folder = bundle_for(folder, request.spec.name)
    answer = build_engine_in(folder, request)
    with said_not_raised(say):
        record_built(store, folder)
    return answer
