"""The table of CPU seconds by stage: the old build, this one, and the ratio."""

from collections.abc import Sequence

from benchmarks.old_tree import COMMIT
from benchmarks.real_size.cells import NEW_SAME_HEAD, OF_NOW, OF_OLD, OLD_WHOLE, Cell, find_cell, runs_of, said_build

AFTER = ("finetune", "export", "verify")
"""Stages that a second search is timed without."""


def time_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """Make a row for each stage of each search that this build ran."""
    rows: list[dict[str, object]] = []
    for job, seed in runs_of(cells, OF_NOW):
        old, new = (find_cell(cells, builds, job, seed) for builds in (OF_OLD, OF_NOW))
        if old and old["machine"]["device"] != new["machine"]["device"]:
            old = {}  # seconds of two machines make no ratio
        protocol = f"CPU seconds, one thread, cold caches; {said_build(old)}, with the base and images of now"
        if new["build"] == NEW_SAME_HEAD:
            protocol += "; one head for both"
        for stage, before, now in lines_of(old, new):
            ratio = round(before / now, 1) if before and now else ""
            row = {"job": job, "seed": seed, "stage": stage, COMMIT: _said(before), "now": _said(now), "ratio": ratio}
            rows.append(row | {"protocol": protocol})
    return rows


def lines_of(old: Cell, new: Cell) -> list[tuple[str, float | None, float | None]]:
    """List what is compared, the old build's figure first; None where there is none.

    Args:
        old: Its cell; empty where it was not run.
        new: This build's.
    """
    before, now = old.get("cpu_seconds", {}), new["cpu_seconds"]
    stages = [*now, *(stage for stage in before if stage not in now)]
    lines = [(stage, before.get(stage), now.get(stage)) for stage in stages]
    lines.append(("in all", sum(before.values()) or None, sum(now.values())))
    if "second" in new:  # the old build kept statistics and library too, but no head
        again = {stage: value for stage, value in new["second"]["cpu_seconds"].items() if stage not in AFTER}
        kept = sum(value for stage, value in before.items() if stage in ("study", "refine"))
        whole = sum(value for stage, value in before.items() if stage not in AFTER)
        lines.append(("second search before fine-tuning, of the old build's first", whole or None, sum(again.values())))
        lines.append(("second search before fine-tuning, of the old build's second", kept or None, sum(again.values())))
    if old.get("build") == OLD_WHOLE:
        lines.append(("peak memory in MB", old["peak_memory_mb"], new.get("peak_memory_mb")))
    else:
        peak = old.get("units", {}).get("peak memory")
        lines.append(("peak memory in MB, of the old build's units", peak, new.get("peak_memory_mb")))
    return lines


def _said(seconds: float | None) -> float | str:
    return "" if seconds is None else round(seconds, 1)
