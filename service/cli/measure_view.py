"""How a measurement is shown: JSON, or the time per kind of kernel."""

import dataclasses
from collections import defaultdict
from typing import Any

from nuwa_search.core.measuring.sustained import SustainedRun
from nuwa_search.lab.measure import MeasureAnswer
from nuwa_search.service.cli.figures import interval, milliseconds
from nuwa_search.service.cli.output import Output


def show_sustained(run: SustainedRun, output: Output) -> None:
    """Print the latency over time, and whether the device slowed down."""
    rows = [dataclasses.asdict(part) for part in run.bins]
    if output.json:
        document = {
            "bins": rows,
            "level_ms": run.level_ms,
            "slowdown": run.slowdown,
            "is_throttled": run.is_throttled,
            "state": dict(run.state),
        }
        output.document({"schema": "nuwa.sustained/1", **document})
        return
    output.table(rows)
    word = "throttled" if run.is_throttled else "steady"
    output.note(f"{word}: the last part is {100 * run.slowdown:+.1f} % against the first")
    if run.state:
        output.note(", ".join(f"{name} {value}" for name, value in run.state.items()))


FIGURES = ("median", "mean", "p50", "p90", "p95", "p99", "min", "max")


def show(measurement: MeasureAnswer, output: Output) -> None:
    """Print the latency, then the time per kind of kernel."""
    found, device = measurement.latency_ms, measurement.device["name"]
    for warning in measurement.warnings:
        output.warn(warning)
    output.note(
        f"{milliseconds(found.median)} {measurement.provenance} on {measurement.device['name']} "
        f"(p95 {interval([found.p95])}, cv {100 * found.cv:.1f} %, {measurement.samples} samples)"
    )
    if measurement.board_interval_ms is not None:
        output.note(f"a real board: {interval(measurement.board_interval_ms)} ms")
    rows = _kind_rows(measurement)
    if output.is_terminal and output.path is None and not output.csv:
        output.table(rows)
        return
    figures = [{"kind": "latency", "figure": name, "ms": getattr(found, name)} for name in FIGURES]
    figures.append({"kind": "latency", "figure": "cv", "share": found.cv})
    whole = {"device": device, "provenance": measurement.provenance, "samples": measurement.samples}
    columns = ("kind", "kernels", "ms", "share", "figure", *whole)
    output.table([*(row | whole for row in figures), *(row | whole for row in rows)], columns=columns)


def _kind_rows(measurement: MeasureAnswer) -> list[dict[str, Any]]:
    """Time by kind of kernel, longest first, then all of it."""
    found = measurement.latency_ms
    totals: dict[str, list[float]] = defaultdict(list)
    for kernel in measurement.breakdown:
        totals[kernel.kind].append(kernel.ms)
    rows: list[dict[str, Any]] = [
        {"kind": kind, "kernels": len(ms), "ms": sum(ms), "share": sum(ms) / found.median}
        for kind, ms in totals.items()
    ]
    rows.sort(key=lambda row: -float(row["ms"]))
    rows.append({"kind": "total", "kernels": len(measurement.breakdown), "ms": found.median, "share": 1.0})
    return rows
