"""Ask the database: rows of a topic, explained budgets, fronts side by side, or the answer of a SELECT."""

from nuwa_search.core.emulator import device_label
from nuwa_search.lab.query_columns import EMPTY
from nuwa_search.lab.query_flat import budget_rows, comparison_rows
from nuwa_search.lab.query_request import QueryRequest
from nuwa_search.lab.query_rows import find_budgets, find_by_sql, find_comparison, find_rows
from nuwa_search.lab.table import Table
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.derive_command import with_budget_commands, with_derive_commands
from nuwa_search.search.study_budgets import with_budgets
from nuwa_search.store.store import Store


def ask(kind: str, store: Store, request: QueryRequest) -> Table:
    """Ask the database.

    Args:
        kind: A key of ``FILTERS``.
        store: The database.
        request: The filters.

    Raises:
        NuwaError: If a device is known neither to the database nor by name, or the SELECT is refused.
    """
    if request.sql is not None:
        read, names, is_truncated = find_by_sql(store, request.sql, request.limit)
        return Table(kind, read, read, names, is_truncated)
    if kind == "comparisons":
        devices = request.compare or ()
        for name in devices:
            _require_known(store, name)
        rows = with_derive_commands(find_comparison(store, devices, request), store)
        flat = comparison_rows(rows)
        return Table(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    if request.device is not None:
        _require_known(store, request.device)
    if kind == "budgets":
        rows = [answer.to_json() for answer in with_budget_commands(find_budgets(store, request), store)]
        flat = budget_rows(rows)
        return Table(kind, rows, flat, list(flat[0]) if flat else ["subnet_id"])
    found = find_rows(kind, store, request)
    if kind == "subnets":
        found = with_derive_commands(found, store)
    elif kind == "studies":
        found = with_budgets(found)
    return Table(kind, found, found, list(found[0]) if found else EMPTY[kind])


def notes_on(store: Store, request: QueryRequest) -> list[str]:
    """Return what an answer left out: figures of another emulator, and other bases of the same name."""
    older = store.older_emulators(request.device) if request.device else ()
    meant = store.base_ids(request.base) if request.base else ()
    notes = []
    if older:
        notes.append(
            f"figures of another emulator are left out: --device {older[-1]} shows them, "
            f"nuwa profile {request.device} measures anew"
        )
    if len(meant) > 1:
        notes.append(
            f"base {request.base!r} has meant {len(meant)} nets here; these are of {meant[0]}, the last one stored; "
            f"--base {' or '.join(meant[1:])} asks for the others"
        )
    return notes


def _require_known(store: Store, name: str) -> None:
    """Refuse a device that nothing is known of: an empty answer would read as `no subnet`."""
    recorded = {word for record in store.devices() for word in (device_label(record.spec), record.spec.device_id)}
    if name not in recorded:
        find_device(name, store)
