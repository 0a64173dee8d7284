"""Tables from the cells that ran: accuracies, ranks, areas, and how well scores foretell accuracy."""

import csv
import platform
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import optuna
import torch
import torch_pruning
from scipy import stats

from nuwa_search.search.front import hypervolume

Row = dict[str, Any]

OURS = "ours"
SEARCHES = (OURS, "random", "nsga2", "tpe")
"""Methods that search among subnets derived alike, so that their scores may be compared."""
FIFTH = 5
"""Ours shall need at most one in so many of the others' evaluations."""


def versions() -> str:
    """What the cells ran with."""
    found = f"torch {torch.__version__}, optuna {optuna.__version__}, torch-pruning {torch_pruning.__version__}"
    return f"{found}, Python {platform.python_version()}"


def protocol_of(row: Row) -> str:
    """How a cell was judged."""
    return (
        f"{row['trials']} scored subnets, {row['distil_steps']} distillation steps of 64 images, "
        "scores: search split, top1: test split (250 images)"
    )


def accuracy_table(rows: Sequence[Row]) -> list[Row]:
    """Mean and standard deviation of test top1 over seeds, with latency, by setting and method."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if "test_top1" in row:
            groups[row["device"], row["task"], row["share"], row["method"]].append(row)
    table = []
    for (device, task, share, method), found in sorted(groups.items()):
        first, tops = found[0], [r["test_top1"] for r in found]
        table.append(
            {
                "device": device,
                "provenance": first["provenance"],
                "runtime": first["runtime"],
                "precision": first["precision"],
                "task": task,
                "budget_share": share,
                "budget_ms": first["budget_ms"],
                "method": method,
                "verdict": "reached" if all(r["is_reachable"] for r in found) else "unreachable",
                "seeds": " ".join(str(r["seed"]) for r in found),
                "test_top1_mean": round(mean(tops), 4),
                "test_top1_sd": round(stdev(tops), 4) if len(tops) > 1 else "",
                "derived_top1_mean": round(mean(r["test_top1_derived"] for r in found), 4),
                "base_test_top1": first["base_test_top1"],
                "measured_ms_max": round(max(r["measured_ms"] for r in found), 3),
                "violations": sum(r["is_violated"] for r in found),
                "macs_mean": round(mean(r["macs"] for r in found)),
                "scored": max(r["scored"] for r in found),
                "pretrain_steps": first["pretrain_steps"],
                "search_seconds_mean": round(mean(r["search_seconds"] for r in found), 1),
                "distil_seconds_mean": round(mean(r["distil_seconds"] for r in found), 1),
                "protocol": protocol_of(first),
                "versions": versions(),
            }
        )
    return table


def area_curve(curve: Sequence[Sequence[float | None]], *, reference: tuple[float, float]) -> list[float]:
    """Area of the front after each scored subnet; those given up early count as scored and cover nothing."""
    areas = []
    times: list[float] = []
    costs: list[float] = []
    for ms, kl in curve:
        if ms is not None and kl is not None:
            times.append(ms)
            costs.append(kl)
        areas.append(hypervolume(times, costs, reference=reference))
    return areas


def evaluations_table(rows: Sequence[Row]) -> list[Row]:
    """Scored subnets that ours needs for the least KL that the others end with, library counted and not."""
    settings: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        settings[row["device"], row["task"], row["share"], row["seed"]][row["method"]] = row
    table = []
    for (device, task, share, seed), found in sorted(settings.items()):
        curves = {m: r["curve"] for m, r in found.items() if m in SEARCHES and r["curve"]}
        if OURS not in curves:
            continue
        mine = [kl for _, kl in curves[OURS]]
        for method, curve in curves.items():
            if method == OURS:
                continue
            target = min(kl for _, kl in curve if kl is not None)
            needed = next((k for k, kl in enumerate(mine, start=1) if kl is not None and kl <= target), None)
            table.append(
                {
                    "device": device,
                    "task": task,
                    "budget_share": share,
                    "seed": seed,
                    "against": method,
                    "scored_by_other": len(curve),
                    "least_kl_other": target,
                    "least_kl_ours": min(kl for kl in mine if kl is not None),
                    "needed_by_ours": "never" if needed is None else needed,
                    "needed_with_library": "never" if needed is None else needed + found[OURS]["library_rows"],
                    "is_within_a_fifth": needed is not None and FIFTH * needed <= len(curve),
                    "versions": versions(),
                }
            )
    return table


def tau_table(rows: Sequence[Row]) -> list[Row]:
    """Rank correlation between the untrained KL and test accuracy after distillation, over the cells' winners."""
    by_task: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if "test_top1" in row and not row["method"].startswith("small"):
            by_task[row["task"]][f"{row['arch']}{row['method']}{row['seed']}"] = row
    groups = dict(by_task)
    if len(by_task) > 1:
        groups["all tasks"] = {f"{task}{k}": r for task, found in by_task.items() for k, r in found.items()}
    table = []
    for task, found in groups.items():
        kls = [r["kl"] for r in found.values()]
        if len(kls) < 3:
            continue
        for after in ("test_top1", "test_loss"):
            sign = -1 if after == "test_top1" else 1
            values = [sign * r[after] for r in found.values()]
            table.append(
                {
                    "task": task,
                    "subnets": len(kls),
                    "score": "KL to the base, search split, untrained",
                    "against": f"{after} after distillation",
                    "kendall_tau": round(float(stats.kendalltau(kls, values).statistic), 3),
                    "spearman": round(float(stats.spearmanr(kls, values).statistic), 3),
                    "versions": versions(),
                }
            )
    return table


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV."""
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def ranks(table: Iterable[Row]) -> list[str]:
    """Say for each setting who is first among those that reach the budget, and the average over tasks."""
    settings: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    averages: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in table:
        if row["verdict"] == "reached":
            settings[row["device"], row["task"], row["budget_share"]].append(row)
            averages[row["device"], row["budget_share"]][row["method"]].append(row["test_top1_mean"])
    lines = []
    for (device, task, share), found in sorted(settings.items()):
        ordered = sorted(found, key=lambda r: -r["test_top1_mean"])
        names = ", ".join(f"{r['method']} {100 * r['test_top1_mean']:.1f}" for r in ordered)
        lines.append(f"{device} {task} {share:g}: {names}")
    for (device, share), methods in sorted(averages.items()):
        means = sorted(((mean(tops), method, len(tops)) for method, tops in methods.items()), reverse=True)
        names = ", ".join(f"{method} {100 * top:.1f} ({count})" for top, method, count in means)
        lines.append(f"{device} mean over tasks at {share:g}: {names}")
    return lines
