"""``nuwa measure``: latency of a bundle, an arch or any ONNX file."""

import dataclasses
import math
from collections import defaultdict
from typing import Any

import click

from nuwa_search.core.device import PROTOCOL, Measurement, device_json
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.sustained import SustainedRun, sustain
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.figures import interval, milliseconds
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.workflow.devices import find_device, opened_device
from nuwa_search.service.workflow.models import fix_free_batch, onnx_from_text


@click.command("measure", cls=NuwaCommand)
@click.argument("model")
@with_flags("device", "sustained")
def command(model: str, **values: Any) -> None:
    """Measure MODEL: a bundle, an arch, a base, or any ONNX file."""
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(values["device"], store)
        graph = onnx_from_text(model, store, spec)
    opened = fix_free_batch(graph, spec.batch)
    with opened_device(spec, seed=values["seed"]) as device:
        if values["sustained"]:
            seconds = seconds_from_text(values["sustained"])
            show_sustained(sustain(device, graph, seconds=seconds, protocol=PROTOCOL), output)
            return
        measurement = device.measure(graph, protocol=PROTOCOL)
    if opened:
        said = f"input {', '.join(opened)} leaves the batch open: measured with {spec.batch}"
        measurement = dataclasses.replace(measurement, warnings=(*measurement.warnings, said))
    if output.json:
        output.document(measurement_json(measurement))
    else:
        show(measurement, output)


def seconds_from_text(text: str) -> float:
    """Read a length of time: ``10m``, ``90s``, or seconds.

    Raises:
        NuwaError: If it is none.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError as error:
        raise NuwaError(f"wanted a length of time, found {text!r}", hint="such as --sustained 10m") from error
    if not 0 < seconds < math.inf:
        raise NuwaError(f"wanted a length of time above 0, found {text!r}", hint="such as --sustained 10m")
    return seconds


def show_sustained(run: SustainedRun, output: Output) -> None:
    """Print the latency over time, and whether the device slowed down."""
    rows = [dataclasses.asdict(part) for part in run.bins]
    if output.json:
        document = {"bins": rows, "slowdown": run.slowdown, "is_throttled": run.is_throttled}
        output.document({"schema": "nuwa.sustained/1", **document})
        return
    output.table(rows)
    word = "throttled" if run.is_throttled else "steady"
    output.note(f"{word}: the last part is {100 * run.slowdown:+.1f} % against the first")


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
