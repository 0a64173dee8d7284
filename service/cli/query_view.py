"""How the answers of ``nuwa query`` look: columns of each topic, budgets and comparisons as rows and as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

from nuwa_search.lab.query_columns import SHOWN
from nuwa_search.search.stages import STAGES
from nuwa_search.service.cli.figures import interval, milliseconds, percent, share
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.picture import bar
from nuwa_search.store.budget import latency_of

Row = dict[str, Any]

# Budgets on the picture of a curve.
_NUM_BUDGETS = 12
_BAR_CELLS = 24


def show_subnets(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Print subnets for people: each latency with how it is known, each accuracy with its split."""
    has_pixels = any(row["miou"] is not None for row in rows)
    shown = [
        {
            "subnet_id": row["subnet_id"],
            "latency": _latency(row),
            "top1": share(row["top1"], row["top1_interval"]),
            **({"mIoU": percent(row["miou"])} if has_pixels else {}),
            "images": row["num_images"],
            "device": row["device"],
            "arch_id": row["arch_id"],
            "split": row["split"] if row["is_current"] else f"{row['split']}, preprocessing {row['pipeline']}",
            "score": row["score_kind"],
            "study": row["study"],
            "bundle": f"{row['bundle_dir']} (gone)" if row["bundle_is_missing"] else row["bundle_dir"],
        }
        for row in rows
    ]
    output.table(shown, may_drop=True)


def show_studies(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Print searches for people, each with all its devices, and with the stages that took its time."""
    shown = [
        {
            **row,
            "device": ", ".join(one["device"] for one in row["budgets"]) or row["device"],
            "budget_ms": ", ".join(f"{one['budget_ms']:g}" for one in row["budgets"]),
            "seconds": stages_text(row["seconds"] or {}),
        }
        for row in rows
    ]
    output.table(shown, columns=SHOWN["studies"], may_drop=True)


def stages_text(seconds: Mapping[str, float]) -> str:
    """Render where a search's time went: ``92 s: study 40, finetune 31, …``; empty where it is not known."""
    if "total" not in seconds:
        return ""
    spent = {name: seconds[name] for name in STAGES if round(seconds.get(name, 0.0)) > 0}
    longest = sorted(spent, key=lambda name: -spent[name])
    return f"{seconds['total']:.0f} s" + (
        f": {', '.join(f'{name} {spent[name]:.0f}' for name in longest)}" if longest else ""
    )


def show_budgets(answers: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Print explained budgets for people: the curve as bars, then the steps around the best."""
    for answer in answers:
        budget_ms = answer["max_ms"]
        asked = "" if budget_ms is None else f", budget {milliseconds(budget_ms)}"
        output.text(f"{answer['device']}: {_task(answer['classes'])}{asked}")
        output.text("\n".join(curve_lines(answer["curve"], budget_ms)))
        best = answer["best"]
        if best is None:
            output.text(f"nothing known is as fast as {milliseconds(budget_ms)}; the nearest:")
        steps = [("", answer["steps_down"][::-1]), ("best", [best] if best else []), ("", answer["steps_up"])]
        output.table([_step_row(mark, row) for mark, rows in steps for row in rows], may_drop=True)
        output.text("")


def curve_lines(curve: Sequence[Row], max_ms: float | None) -> list[str]:
    """Draw what each of some budgets buys: one bar of accuracy per budget, the asked one among them.

    Args:
        curve: A front by latency, not empty.
        max_ms: The budget asked for in milliseconds; None if none was.
    """
    fastest, slowest = latency_of(curve[0]), latency_of(curve[-1])
    step = (slowest - fastest) / (_NUM_BUDGETS - 1)
    budgets = {slowest, *(fastest + n * step for n in range(_NUM_BUDGETS - 1))}
    if max_ms is not None:  # it takes the place of a neighbour that would say the same
        budgets = {ms for ms in budgets if abs(ms - max_ms) > step / 2 or ms in (fastest, slowest)} | {max_ms}
    lines = []
    for budget_ms in sorted(budgets):
        under = [row for row in curve if latency_of(row) <= budget_ms]
        top1, ends = (under[-1]["top1"], under[-1].get("top1_interval")) if under else (None, None)
        mark = "  < the budget" if budget_ms == max_ms else ""
        drawn = bar(top1 or 0.0, _BAR_CELLS)
        lines.append(f"{milliseconds(budget_ms):>9}  {drawn} {share(top1, ends):>7}{mark}")
    return lines


def show_comparison(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Print a comparison for people: one column per device, ``*`` where a subnet is on that device's front."""
    shown = []
    for row in rows:
        cells = {device: _cell(found) for device, found in row["latencies"].items()}
        rest = {"arch_id": row["arch_id"], "base": row["base"], "classes": _task(row["classes"])}
        shown.append(
            {
                "subnet_id": row["subnet_id"],
                "top1": share(row["top1"], row["top1_interval"]),
                "images": row["num_images"],
                **cells,
                **rest,
            }
        )
    output.table(shown, may_drop=True)
    output.note("* on the front of that device and task")


def _latency(row: Mapping[str, Any]) -> str:
    if row["measured_latency_ms"] is not None:
        return f"{milliseconds(row['measured_latency_ms'])} {row['provenance']}"
    if row["predicted_latency_ms"] is None:
        return "–"
    beside = "" if row["predicted_interval_ms"] is None else f" ({interval(row['predicted_interval_ms'])})"
    return f"{milliseconds(row['predicted_latency_ms'])} predicted{beside}"


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    figure = _figure(found["provenance"], is_measured=found["is_measured"])
    return f"{milliseconds(found['latency_ms'])} {figure}{' *' if found['is_on_front'] else ''}"


def _figure(provenance: str, *, is_measured: bool) -> str:
    """Write how a latency is known: ``measured``, ``emulated``, ``predicted``, ``predicted, emulated``."""
    if is_measured:
        return provenance
    return "predicted" if provenance == "measured" else f"predicted, {provenance}"


def _step_row(mark: str, row: Row) -> Row:
    extra_ms = row.get("extra_ms")
    return {
        "": mark,
        "latency": milliseconds(latency_of(row)),
        "subnet_id": row["subnet_id"],
        "top1": share(row["top1"], row["top1_interval"]),
        "images": row["num_images"],
        "change": "" if extra_ms is None else f"{extra_ms:+.2f} ms, {100 * row['extra_top1']:+.1f} points",
        "figure": _figure(row["provenance"], is_measured=row["measured_latency_ms"] is not None),
        "arch_id": row["arch_id"],
    }


def _task(classes: Sequence[str]) -> str:
    return ", ".join(classes) if len(classes) <= 6 else f"{', '.join(classes[:5])} and {len(classes) - 5} more classes"
