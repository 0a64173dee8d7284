"""Answers that hold rows inside rows, one value a cell: for tables, files and frames."""

from collections.abc import Mapping, Sequence
from typing import Any

from nuwa_search.search.derive_command import COLUMN as DERIVE_COMMAND
from nuwa_search.store.budget import latency_of

Row = dict[str, Any]


def budget_rows(answers: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Flatten explained budgets: one row per point of each curve, the best and the steps marked in ``step``."""
    return [_point(row, answer) for answer in answers for row in answer["curve"]]


def comparison_rows(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Flatten a comparison: three columns per device, ``latency_ms.D``, ``provenance.D`` and ``is_on_front.D``."""
    flat = []
    for row in rows:
        out = {name: value for name, value in row.items() if name != "latencies"}
        for device, found in row["latencies"].items():
            for name in ("latency_ms", "provenance", "is_measured", "is_on_front"):
                out[f"{name}.{device}"] = None if found is None else found[name]
        flat.append(out)
    return flat


def _point(row: Row, answer: Mapping[str, Any]) -> Row:
    best = answer["best"]
    marks = {_key(best): "best"} if best else {}
    marks |= {_key(step): f"+{n}" for n, step in enumerate(answer["steps_up"], start=1)}
    marks |= {_key(step): f"-{n}" for n, step in enumerate(answer["steps_down"], start=1)}
    return {
        "device": answer["device"],
        "classes": answer["classes"],
        "max_ms": answer["max_ms"],
        "step": marks.get(_key(row), ""),
        "latency_ms": latency_of(row),
        "is_measured": row["measured_latency_ms"] is not None,
        "provenance": row["provenance"],
        "top1": row["top1"],
        "top1_interval": row["top1_interval"],
        "split": row["split"],
        "num_images": row["num_images"],
        "extra_ms": latency_of(row) - latency_of(best) if best else None,
        "extra_top1": row["top1"] - best["top1"] if best else None,
        "subnet_id": row["subnet_id"],
        "arch_id": row["arch_id"],
        DERIVE_COMMAND: row[DERIVE_COMMAND],
    }


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["subnet_id"], row["device_id"]
