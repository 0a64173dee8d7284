"""The answer on stdout, everything else on stderr."""

import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Output:
    """How this run answers, from the common flags.

    Args:
        json: Whether the answer is one JSON document.
        csv: Whether it is CSV.
        quiet: Whether hints and warnings are left out.
        verbose: Whether to say more.
        no_progress: Whether progress is left out.
        path: File for the answer in place of stdout; None for stdout.
    """

    json: bool = False
    csv: bool = False
    quiet: bool = False
    verbose: bool = False
    no_progress: bool = False
    path: Path | None = None

    @property
    def is_terminal(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()

    @property
    def shows_progress(self) -> bool:
        return not (self.quiet or self.no_progress)

    def document(self, answer: Mapping[str, Any]) -> None:
        """Print a JSON document, with NaN refused."""
        self._write(json.dumps(answer, indent=2, allow_nan=False, default=_plain) + "\n")

    def text(self, answer: str) -> None:
        """Print a finished text."""
        self._write(answer if answer.endswith("\n") else answer + "\n")

    def table(self, rows: Rows, *, columns: Sequence[str] | None = None, title: str = "") -> None:
        """Print rows: a table on a terminal, CSV with ``--csv``, else TSV without truncation."""
        names = list(columns) if columns else list(rows[0]) if rows else []
        if self.csv or not self.is_terminal or self.path is not None:
            wants_csv = self.csv or (self.path is not None and self.path.suffix == ".csv")
            self._write(_delimited(rows, names, "," if wants_csv else "\t"))
        else:
            _print_rich(rows, names, title)

    def note(self, message: str) -> None:
        """Say something beside the answer, on stderr."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """Warn on stderr."""
        self.note(f"warning: {message}")

    def _write(self, text: str) -> None:
        if self.path is None:
            if sys.stdout is not None:  # None when the caller closed it
                sys.stdout.write(text)
                sys.stdout.flush()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text)


def output_from_flags(values: Mapping[str, Any], *, use_path: bool = True) -> Output:
    """Build the output from the values of the common flags."""
    path = values.get("output") if use_path else None
    return Output(
        json=values["json"],
        csv=values["csv"],
        quiet=values["quiet"],
        verbose=values["verbose"],
        no_progress=values["no_progress"],
        path=Path(path) if path else None,
    )


def _delimited(rows: Rows, names: Sequence[str], delimiter: str) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row.get(name) is None else _cell(row[name]) for name in names])
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=_plain)
    return str(value)


def _print_rich(rows: Rows, names: Sequence[str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, box=None, header_style="bold", title_justify="left", pad_edge=False)
    for name in names:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*["" if row.get(n) is None else _short(row[n]) for n in names])
    Console(no_color=bool(os.environ.get("NO_COLOR"))).print(table)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"
    return _cell(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
