"""Tables from the cells that ran: accuracies, ranks, and evaluations needed for the same front area."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from search.front import hypervolume

Row = dict[str, Any]


def accuracy_table(rows: Sequence[Row]) -> list[Row]:
    """Mean and standard deviation of test top1 over seeds, with latency, by setting and method."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if "test_top1" in row:
            groups[row["device"], row["task"], row["share"], row["method"]].append(row)
    table = []
    for (device, task, share, method), found in sorted(groups.items()):
        tops = [r["test_top1"] for r in found]
        table.append(
            {
                "device": device,
                "task": task,
                "share": share,
                "method": method,
                "reachable": all(r["is_reachable"] for r in found),
                "seeds": len(found),
                "test_top1_mean": round(mean(tops), 4),
                "test_top1_sd": round(stdev(tops), 4) if len(tops) > 1 else "",
                "derived_top1_mean": round(mean(r["test_top1_derived"] for r in found), 4),
                "budget_ms": found[0]["budget_ms"],
                "measured_ms_max": round(max(r["measured_ms"] for r in found), 3),
                "violations": sum(r["is_violated"] for r in found),
                "scored": max(r["scored"] for r in found),
                "search_seconds_mean": round(mean(r["search_seconds"] for r in found), 1),
            }
        )
    return table


def area_curve(curve: Sequence[Sequence[float]], *, reference: tuple[float, float]) -> list[float]:
    """Area of the front after each scored subnet."""
    times, costs = [p[0] for p in curve], [p[1] for p in curve]
    return [hypervolume(times[:k], costs[:k], reference=reference) for k in range(1, len(curve) + 1)]


def evaluations_table(rows: Sequence[Row]) -> list[Row]:
    """Scored subnets that ours needs for the front area the others end with, library counted and not."""
    settings: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        settings[row["device"], row["task"], row["share"], row["seed"]][row["method"]] = row
    table = []
    for (device, task, share, seed), found in sorted(settings.items()):
        curves = {m: r["curve"] for m, r in found.items() if m in ("ours", "random", "nsga2", "tpe") and r["curve"]}
        if "ours" not in curves:
            continue
        worst = max(kl for curve in curves.values() for _, kl in curve)
        reference = (found["ours"]["budget_ms"], worst)
        mine = area_curve(curves["ours"], reference=reference)
        for method, curve in curves.items():
            if method == "ours":
                continue
            target = area_curve(curve, reference=reference)[-1]
            needed = next((k for k, area in enumerate(mine, start=1) if area >= target), None)
            table.append(
                {
                    "device": device,
                    "task": task,
                    "share": share,
                    "seed": seed,
                    "against": method,
                    "scored_by_other": len(curve),
                    "needed_by_ours": "never" if needed is None else needed,
                    "needed_with_library": "never" if needed is None else needed + found["ours"]["library_rows"],
                    "area_other": round(target, 4),
                    "area_ours": round(mine[-1], 4),
                }
            )
    return table


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV."""
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def ranks(table: Iterable[Row]) -> list[str]:
    """Say for each setting who is first and how far ours is from it."""
    settings: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in table:
        if row["reachable"]:
            settings[row["device"], row["task"], row["share"]].append(row)
    lines = []
    for (device, task, share), found in sorted(settings.items()):
        ordered = sorted(found, key=lambda r: -r["test_top1_mean"])
        names = ", ".join(f"{r['method']} {100 * r['test_top1_mean']:.1f}" for r in ordered)
        lines.append(f"{device} {task} {share:g}: {names}")
    return lines
