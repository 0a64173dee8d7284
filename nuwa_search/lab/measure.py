"""Measure a model on a device and store what came out."""

import dataclasses
from collections.abc import Mapping, Sequence

from nuwa_search.core.device import PROTOCOL, DeviceSpec, KernelTime, LatencyStats, Measurement, Provenance, device_json
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.measuring.sustained import SustainedRun, sustain
from nuwa_search.deploy.models import fix_free_batch, measured_source, onnx_from_text
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.store.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureAnswer(JsonFields):
    """The `nuwa.measure/1` answer.

    Args:
        schema: Of the document.
        measurement_id: Its row in the database.
        onnx_hash: SHA-256 of the graph that was measured.
        device: Its part of the answer.
        provenance: Measured or emulated.
        latency_ms: Statistics.
        samples: That they are of.
        board_interval_ms: How far the emulator may be from a real board; None on a real device.
        peak_memory_mb: None where it was not measured.
        breakdown: By kernel; empty where the device tells none.
        warnings: In sentences.
    """

    schema: str = "nuwa.measure/1"
    measurement_id: str
    onnx_hash: str
    device: Mapping[str, object]
    provenance: Provenance
    latency_ms: LatencyStats
    samples: int
    board_interval_ms: tuple[float, float] | None
    peak_memory_mb: float | None
    breakdown: Sequence[KernelTime]
    warnings: Sequence[str]


def measure(store: Store, spec: DeviceSpec, model: str, *, seed: int) -> MeasureAnswer:
    """Measure a bundle, an arch, a base or any ONNX file under the protocol, and store it.

    Args:
        store: The database.
        spec: The device.
        model: What it names.
        seed: Of an emulated device's noise.

    Raises:
        NuwaError: If it names nothing that can be measured, or the device cannot take it.
        OutsideError: If the device failed.
    """
    graph = onnx_from_text(model, store, spec)
    source = measured_source(model, graph, store, spec=spec)
    opened = fix_free_batch(graph, spec.batch)
    with opened_device(spec, seed=seed, store=store) as device:
        measurement = device.measure(graph, protocol=PROTOCOL)
    if opened:
        said = f"input {', '.join(opened)} leaves the batch open: measured with {spec.batch}"
        measurement = dataclasses.replace(measurement, warnings=(*measurement.warnings, said))
    measurement_id = store.save_measurement(
        measurement, arch=source.arch, subnet_id=source.subnet_id, onnx_hash=source.onnx_hash
    )
    return answer_of_measurement(measurement, measurement_id=measurement_id, onnx_hash=source.onnx_hash)


def measure_sustained(store: Store, spec: DeviceSpec, model: str, *, seconds: float, seed: int) -> SustainedRun:
    """Keep a device busy with a model, and tell its latency over time; nothing is stored.

    Args:
        store: The database, for ids of archs.
        spec: A real device.
        model: A bundle, an arch, a base or an ONNX file.
        seconds: How long.
        seed: Of what is drawn.

    Raises:
        NuwaError: If it names nothing that can be measured, or the device cannot take it.
        OutsideError: If the device failed.
    """
    graph = onnx_from_text(model, store, spec)
    fix_free_batch(graph, spec.batch)
    with opened_device(spec, seed=seed, store=store) as device:
        return sustain(device, graph, seconds=seconds, protocol=PROTOCOL)


def answer_of_measurement(measurement: Measurement, *, measurement_id: str, onnx_hash: str) -> MeasureAnswer:
    """Tell what was measured."""
    return MeasureAnswer(
        measurement_id=measurement_id,
        onnx_hash=onnx_hash,
        device=device_json(measurement.device),
        provenance=measurement.provenance,
        latency_ms=measurement.latency_ms,
        samples=measurement.samples,
        board_interval_ms=measurement.board_interval_ms,
        peak_memory_mb=measurement.peak_memory_mb,
        breakdown=tuple(measurement.breakdown),
        warnings=tuple(measurement.warnings),
    )
