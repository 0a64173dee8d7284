"""Tables on a terminal, as wide as it is; ids, names and numbers are never broken."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Between two columns.
_GAP = 2
# What a column of text is folded to at least, where nothing else helps.
_LEAST_WIDTH = 12
# Texts without spaces up to this length are ids and names, longer ones paths and hashes, which may be folded.
_LONGEST_ID = 40


def print_table(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, title: str = "", may_drop: bool = False
) -> list[str]:
    """Print rows on stdout.

    Args:
        rows: Rows to print.
        names: Columns, the most important first.
        title: Heading; none if empty.
        may_drop: Whether the last columns may be left out where the terminal is too narrow.

    Returns:
        The columns that were left out.
    """
    from rich.console import Console
    from rich.table import Table

    texts = {name: ["" if row.get(name) is None else _short(row[name]) for row in rows] for name in names}
    widths = {name: max(len(text) for text in (name, *texts[name])) for name in names}
    width = Console().width
    kept = fitting(widths, width) if may_drop else list(names)
    whole = {name for name in kept if all(len(text) <= _LONGEST_ID and " " not in text for text in texts[name])}
    least = {name: widths[name] if name in whole else min(widths[name], _LEAST_WIDTH) for name in kept}
    table = Table(title=title or None, box=None, header_style="bold", title_justify="left", pad_edge=False)
    for name in kept:
        is_number = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(
            name,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=name in whole,
            min_width=least[name],
        )
    for row in range(len(rows)):
        table.add_row(*(texts[name][row] for name in kept))
    # Where not even the ids fit, the terminal breaks the line: what is copied from it stays in one piece.
    needed = sum(least.values()) + _GAP * (len(kept) - 1)
    console = Console(width=max(width, needed), no_color=bool(os.environ.get("NO_COLOR")), markup=False, emoji=False)
    console.print(table, highlight=False)
    return [name for name in names if name not in kept]


def fitting(widths: Mapping[str, int], width: int) -> list[str]:
    """Choose the first columns that fit side by side, one at least."""
    kept: list[str] = []
    used = 0
    for name, needed in widths.items():
        used += needed + (_GAP if kept else 0)
        if kept and used > width:
            break
        kept.append(name)
    return kept


def cell(value: Any) -> str:
    """Write one value in full; what has parts as JSON."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=plain)
    return str(value)


def plain(value: Any) -> Any:
    """Make a value one that JSON can hold.

    Raises:
        TypeError: If it cannot be.
    """
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return cell(value)
