"""``nuwa measure``: latency of a bundle, an arch or any ONNX file."""

import dataclasses
from collections import defaultdict
from typing import Any

import click

from latency.devices.registry import open_device
from nuwa.device import Measurement, device_json
from service.cli.command import NuwaCommand
from service.cli.database import database
from service.cli.figures import interval, milliseconds
from service.cli.flags import with_flags
from service.cli.output import Output, output_from_flags
from service.workflow.devices import find_device
from service.workflow.models import onnx_from_text
from service.workflow.pricing import PROTOCOL


@click.command("measure", cls=NuwaCommand)
@click.argument("model")
@with_flags("device")
def command(model: str, **values: Any) -> None:
    """Measure MODEL: a bundle, an arch, a base, or any ONNX file."""
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(values["device"], store)
        graph = onnx_from_text(model, store, spec)
        measurement = open_device(spec, seed=values["seed"]).measure(graph, protocol=PROTOCOL)
    if output.json:
        output.document(measurement_json(measurement))
    else:
        show(measurement, output)


def measurement_json(measurement: Measurement) -> dict[str, Any]:
    """Render the `nuwa.measure/1` answer."""
    board = measurement.board_interval_ms
    return {
        "schema": "nuwa.measure/1",
        "device": device_json(measurement.device),
        "provenance": measurement.provenance,
        "latency_ms": dataclasses.asdict(measurement.latency_ms),
        "samples": measurement.samples,
        "board_interval_ms": None if board is None else list(board),
        "peak_memory_mb": measurement.peak_memory_mb,
        "breakdown": [dataclasses.asdict(kernel) for kernel in measurement.breakdown],
        "warnings": list(measurement.warnings),
    }


def show(measurement: Measurement, output: Output) -> None:
    """Print the latency, then the time per kind of kernel."""
    found = measurement.latency_ms
    for warning in measurement.warnings:
        output.warn(warning)
    output.note(
        f"{milliseconds(found.median)} {measurement.provenance} on {measurement.device.name} "
        f"(p95 {interval([found.p95])}, cv {100 * found.cv:.1f} %, {measurement.samples} samples)"
    )
    if measurement.board_interval_ms is not None:
        output.note(f"a real board: {interval(measurement.board_interval_ms)} ms")
    totals: dict[str, list[float]] = defaultdict(list)
    for kernel in measurement.breakdown:
        totals[kernel.kind].append(kernel.ms)
    rows = [
        {"kind": kind, "kernels": len(ms), "ms": sum(ms), "share": sum(ms) / found.median}
        for kind, ms in totals.items()
    ]
    rows.sort(key=lambda row: -float(str(row["ms"])))
    rows.append({"kind": "total", "kernels": len(measurement.breakdown), "ms": found.median, "share": 1.0})
    output.table(rows)
