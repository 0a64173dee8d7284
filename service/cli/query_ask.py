"""Answer ``nuwa query``: rows from the database, for people or for programs."""

from collections.abc import Mapping
from typing import Any

from nuwa_search.core.emulator import device_label
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.derive_command import COLUMN, with_budget_commands, with_derive_commands
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.query_answer import QueryAnswer
from nuwa_search.service.cli.query_columns import EMPTY, SHOWN
from nuwa_search.service.cli.query_filters import devices_from_text
from nuwa_search.service.cli.query_rows import find_budgets, find_by_sql, find_comparison, find_rows
from nuwa_search.service.cli.query_view import (
    budget_rows,
    comparison_rows,
    show_budgets,
    show_comparison,
    show_studies,
    show_subnets,
)
from nuwa_search.store.store import Store


def ask(kind: str, store: Store, values: Mapping[str, Any]) -> QueryAnswer:
    """Ask the database.

    Args:
        kind: A key of ``FILTERS``.
        store: The database.
        values: Of the flags.
    """
    if kind == "SQL":
        found, names, is_truncated = find_by_sql(store, values["sql"], values["limit"])
        return QueryAnswer(kind, found, found, names, is_truncated)
    if kind == "comparisons":
        devices = devices_from_text(values["compare"])
        for name in devices:
            _require_known(store, name)
        rows = with_derive_commands(find_comparison(store, devices, values), store)
        flat = comparison_rows(rows)
        return QueryAnswer(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    if values["device"] is not None:
        _require_known(store, values["device"])
    if kind == "budgets":
        rows = [answer.to_json() for answer in with_budget_commands(find_budgets(store, values), store)]
        flat = budget_rows(rows)
        return QueryAnswer(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    rows = find_rows(kind, store, values)
    if kind == "subnets":
        rows = with_derive_commands(rows, store)
    return QueryAnswer(kind, rows, rows, list(rows[0]) if rows else EMPTY[kind])


def _require_known(store: Store, name: str) -> None:
    """Refuse a device that nothing is known of: an empty answer would read as `no subnet`."""
    recorded = {word for record in store.devices() for word in (device_label(record.spec), record.spec.device_id)}
    if name not in recorded:
        find_device(name, store)


def show_answer(answer: QueryAnswer, output: Output) -> None:
    """Print an answer that has rows as tables for people, or as rows."""
    is_for_people = output.is_terminal and not output.csv
    if is_for_people and answer.kind == "subnets":
        show_subnets(answer.rows, output)
    elif is_for_people and answer.kind == "budgets":
        show_budgets(answer.rows, output)
    elif is_for_people and answer.kind == "studies":
        show_studies(answer.rows, output)
    elif is_for_people and answer.kind == "comparisons":
        show_comparison(answer.rows, output)
    elif is_for_people:
        output.table(answer.flat, columns=SHOWN.get(answer.kind, answer.names), may_drop=True)
    else:
        output.table(answer.flat, columns=answer.names)
    if is_for_people and COLUMN in answer.names:
        output.note("cut one of them again, as it was scored: nuwa derive --subnet ID -o DIR")
