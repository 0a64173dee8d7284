"""``nuwa query``: ask the search database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.query_rows import (
    check_filters,
    devices_from_text,
    find_budgets,
    find_by_sql,
    find_comparison,
    find_rows,
)
from nuwa_search.service.cli.query_view import (
    EMPTY,
    SHOWN,
    budget_rows,
    comparison_rows,
    show_budgets,
    show_comparison,
    show_subnets,
)
from nuwa_search.service.cli.table_file import Rows, check_ending, write_rows
from nuwa_search.service.workflow.devices import find_device
from nuwa_search.store.store import Store

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
    path = Path(values["output"]).expanduser() if values["output"] else None
    if path is not None:
        check_ending(path)
    kind = _kind(topic, values)
    context = click.get_current_context()
    check_filters(kind, [name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE])
    is_shown = output.is_terminal and path is None and not (output.json or output.csv)
    is_head = is_shown and values["limit"] is None and kind in ("subnets", "latencies")
    if is_head:
        values["limit"] = ROWS_ON_TERMINAL
    with database(values, must_exist=True) as store:
        answer = _ask(kind, store, values)
    if answer.is_truncated and values["limit"] is None:
        output.warn(f"there is more: only the first {len(answer.rows)} rows were read")
    if path is not None:
        write_rows(path, answer.flat, answer.names, document=answer.document)
        output.note(f"{len(answer.rows)} rows written to {path}")
    elif output.json:
        output.document(answer.document)
    else:
        if not answer.rows:
            output.note(_nothing(values))
        _show(answer, output)
    if is_head and len(answer.rows) == ROWS_ON_TERMINAL:
        output.note(f"the first {ROWS_ON_TERMINAL} rows; --limit N shows more, --csv, --json or -o FILE gives all")


@dataclass(frozen=True)
class Answer:
    """What was found.

    Args:
        kind: A key of ``FILTERS``.
        rows: As ``--json`` gives them.
        flat: As tables and files give them.
        names: Columns of ``flat``.
        is_truncated: Whether there were more rows than were read.
    """

    kind: str
    rows: Rows
    flat: Rows
    names: Sequence[str]
    is_truncated: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The `nuwa.query/1` answer."""
        return {"schema": "nuwa.query/1", "rows": [dict(row) for row in self.rows], "count": len(self.rows)}


def _kind(topic: str, values: Mapping[str, Any]) -> str:
    if values["sql"] is not None:
        return "SQL"
    if values["explain_budget"] and topic == "subnets":
        return "budgets"
    return "comparisons" if values["compare"] and topic == "devices" else topic


def _ask(kind: str, store: Store, values: Mapping[str, Any]) -> Answer:
    if kind == "SQL":
        found, names, is_truncated = find_by_sql(store, values["sql"], values["limit"])
        return Answer(kind, found, found, names, is_truncated)
    if kind == "comparisons":
        devices = devices_from_text(values["compare"])
        for name in devices:
            _require_known(store, name)
        rows = find_comparison(store, devices, values)
        flat = comparison_rows(rows)
        return Answer(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    if values["device"] is not None:
        _require_known(store, values["device"])
    if kind == "budgets":
        rows = find_budgets(store, values)
        flat = budget_rows(rows)
        return Answer(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    rows = find_rows(kind, store, values)
    return Answer(kind, rows, rows, list(rows[0]) if rows else EMPTY[kind])


def _require_known(store: Store, name: str) -> None:
    """Refuse a device that nothing is known of: an empty answer would read as `no subnet`."""
    recorded = {word for record in store.devices() for word in (record.spec.name, record.spec.device_id)}
    if name not in recorded:
        find_device(name, store)


def _show(answer: Answer, output: Output) -> None:
    is_for_people = output.is_terminal and not output.csv and answer.rows
    if is_for_people and answer.kind == "subnets":
        show_subnets(answer.rows, output)
    elif is_for_people and answer.kind == "budgets":
        show_budgets(answer.rows, output)
    elif is_for_people and answer.kind == "comparisons":
        show_comparison(answer.rows, output)
    elif is_for_people:
        output.table(answer.flat, columns=SHOWN.get(answer.kind, answer.names), may_drop=True)
    elif answer.rows or not output.is_terminal:
        output.table(answer.flat, columns=answer.names)


def _nothing(values: Mapping[str, Any]) -> str:
    filters = ("device", "max_ms", "min_top1", "classes", "base", "measured_only", "model", "compare", "sql")
    if any(values[name] for name in filters):
        return "nothing matches"
    return "the database has none; `nuwa-search --budget-ms 30` fills it"
