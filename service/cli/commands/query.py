"""``nuwa query``: ask the search database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from nuwa_search.core.home import expanded
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database, has_nothing
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.query_answer import QueryAnswer
from nuwa_search.service.cli.query_columns import EMPTY
from nuwa_search.service.cli.query_filters import check_filters, devices_from_text
from nuwa_search.service.cli.table_file import check_ending, write_rows

ROWS_ON_TERMINAL = 100
"""Rows that people are shown where they asked for no number: a database may hold millions."""
TOPICS = ("subnets", "latencies", "studies", "devices", "certificates")


@click.command("query", cls=NuwaCommand)
@click.argument("topic", type=click.Choice(TOPICS), default="subnets")
@with_flags(
    *("device", "max-ms", "min-top1", "classes", "base", "measured-only", "pareto", "explain-budget", "compare"),
    *("model", "sort", "limit", "sql"),
    defaults={"device": None, "base": None},
)
def command(topic: str, **values: Any) -> None:
    """Ask the search database; without a topic, for subnets.

    The answer goes to the terminal, or with -o to a .csv, .tsv, .json or .parquet file.
    """
    output = output_from_flags(values, use_path=False)
    path = expanded(values["output"]) if values["output"] else None
    if path is not None:
        check_ending(path)
    kind = _kind(topic, values)
    context = click.get_current_context()
    check_filters(kind, [name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE])
    is_shown = output.is_terminal and path is None and not (output.json or output.csv)
    is_head = is_shown and values["limit"] is None and kind in ("subnets", "latencies")
    if is_head:
        values["limit"] = ROWS_ON_TERMINAL
    if kind == "comparisons":
        devices_from_text(values["compare"])
    found = _find(kind, values)
    answer = found.answer
    for note in found.notes:
        output.note(note)
    if answer.is_truncated and values["limit"] is None:
        output.warn(f"there is more: only the first {len(answer.rows)} rows were read")
    if path is not None:
        write_rows(path, answer.flat, answer.names, document=answer.document)
        output.note(f"{len(answer.rows)} rows written to {path}")
    elif output.json:
        output.document(answer.document)
    elif answer.rows:
        from nuwa_search.service.cli.query_ask import show_answer

        show_answer(answer, output)
    else:
        output.note(_nothing(values))
        if not output.is_terminal:
            output.table((), columns=answer.names)
    if is_head and len(answer.rows) == ROWS_ON_TERMINAL:
        output.note(f"the first {ROWS_ON_TERMINAL} rows; --limit N shows more, --csv, --json or -o FILE gives all")


@dataclass(frozen=True)
class _Found:
    """An answer, and what is to be said of it."""

    answer: QueryAnswer
    notes: tuple[str, ...] = ()


def _find(kind: str, values: Mapping[str, Any]) -> _Found:
    if kind in EMPTY and not values["device"] and has_nothing(values):  # a device's name takes the store to check
        return _Found(QueryAnswer(kind, [], [], EMPTY[kind]))
    with database(values, must_exist=True) as store:
        from nuwa_search.service.cli.query_ask import ask

        answer = ask(kind, store, values)
        older = store.older_emulators(values["device"]) if values["device"] else ()
        meant = store.base_ids(values["base"]) if values["base"] else ()
    notes = []
    if older:
        notes.append(
            f"figures of another emulator are left out: --device {older[-1]} shows them, "
            f"nuwa profile {values['device']} measures anew"
        )
    if len(meant) > 1:
        notes.append(
            f"base {values['base']!r} has meant {len(meant)} nets here; these are of {meant[0]}, the last one stored; "
            f"--base {' or '.join(meant[1:])} asks for the others"
        )
    return _Found(answer, tuple(notes))


def _kind(topic: str, values: Mapping[str, Any]) -> str:
    if values["sql"] is not None:
        return "SQL"
    if values["explain_budget"] and topic == "subnets":
        return "budgets"
    return "comparisons" if values["compare"] and topic == "devices" else topic


def _nothing(values: Mapping[str, Any]) -> str:
    filters = ("device", "max_ms", "min_top1", "classes", "base", "measured_only", "model", "compare", "sql")
    if any(values[name] for name in filters):
        return "nothing matches"
    return "the database has none; `nuwa-search --budget-ms 30` fills it"
