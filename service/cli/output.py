"""The answer on stdout, everything else on stderr."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.service.cli.pasted import complete_commands
from nuwa_search.service.cli.progress import current_line
from nuwa_search.service.cli.table_file import Rows, check_ending, delimited, json_text, write_rows
from nuwa_search.service.cli.terminal import print_table


@dataclass(frozen=True)
class Output:
    """How this run answers, from the common flags.

    Args:
        json: Whether the answer is one JSON document.
        csv: Whether rows are printed as CSV.
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
        self._write(json_text(answer))

    def text(self, answer: str, *, row: Mapping[str, Any] | None = None) -> None:
        """Print a finished text; a file gets ``row``, which says the same, in the format its ending names."""
        if self.path is not None and row is not None:
            self.table([row])
            return
        self._write(answer if answer.endswith("\n") else answer + "\n")

    def table(
        self, rows: Rows, *, columns: Sequence[str] | None = None, title: str = "", may_drop: bool = False
    ) -> None:
        """Print rows: a table on a terminal, CSV with ``--csv``, else TSV; a file gets what its ending names.

        Args:
            rows: Rows to print.
            columns: Which columns, the most important first; None for all.
            title: Heading on a terminal.
            may_drop: Whether a terminal too narrow for all columns loses the last ones, which is said,
                instead of long texts being folded.
        """
        names = list(columns) if columns else list(rows[0]) if rows else []
        if self.path is not None:
            write_rows(self.path, rows, names, document={"rows": list(rows)})
            return
        current_line().end()
        if self.csv or not self.is_terminal:
            self._write(delimited(rows, names, "," if self.csv else "\t"))
            return
        dropped = print_table(rows, names, title=title, may_drop=may_drop)
        if dropped:
            self.note(f"no room for {', '.join(dropped)}: --json and --csv have them")

    def note(self, message: str) -> None:
        """Print a note beside the answer, on stderr."""
        if not self.quiet:
            current_line().clear()
            print(complete_commands(message), file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """Warn on stderr."""
        self.note(f"warning: {message}")

    def _write(self, text: str) -> None:
        current_line().end()
        if self.path is None:
            if sys.stdout is not None:  # None when the caller closed it
                sys.stdout.write(text)
                sys.stdout.flush()
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text)


def output_from_flags(values: Mapping[str, Any], *, use_path: bool = True) -> Output:
    """Build the output from the values of the common flags.

    Args:
        values: Values of the flags.
        use_path: Whether ``-o`` names a file for the rows; elsewhere it is a folder or a picture of the command's own.

    Raises:
        NuwaError: If the file's ending names no format, or another one than ``--json`` or ``--csv`` asks for.
    """
    named = values.get("output") if use_path else None
    path = expanded(named) if named else None
    is_json, is_csv = values["json"], values["csv"]
    if path is not None:
        check_ending(path)
        for flag, is_asked in (("json", is_json), ("csv", is_csv)):
            if is_asked and path.suffix != f".{flag}":
                raise NuwaError(
                    f"--{flag} and -o {path.name} ask for two formats", hint=f"leave --{flag} out, or -o NAME.{flag}"
                )
        is_json = path.suffix == ".json"
    return Output(
        json=is_json,
        csv=is_csv,
        quiet=values["quiet"],
        verbose=values["verbose"],
        no_progress=values["no_progress"],
        path=path,
    )
