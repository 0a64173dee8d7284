"""Copy a search database with the studies that Optuna keeps in it."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.copying import CopiedTable, copy_rows, count_rows, empty
from nuwa_search.store.running import running_work
from nuwa_search.store.twin_tables import find_study_schema

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


@dataclass(frozen=True)
class DatabaseCopy:
    """A database that was copied; each table was counted on both sides and has as many rows.

    Args:
        source: Where from, without a password.
        target: Where to, without a password.
        tables: Each with its rows.
        removed: Rows of the target that made way.
        running: Searches and jobs that ran while it was read: the copy has them as they were then.
        seconds: How long it took.
    """

    source: str
    target: str
    tables: tuple[CopiedTable, ...]
    removed: int
    running: tuple[str, ...]
    seconds: float

    @property
    def num_rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def num_added(self) -> int:
        return sum(table.added for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """Make the document of `nuwa db copy`."""
        return {
            "schema": "nuwa.db/1",
            "source": self.source,
            "target": self.target,
            "tables": [{"table": t.table, "rows": t.rows, "added": t.added} for t in self.tables],
            "rows": self.num_rows,
            "added": self.num_added,
            "removed": self.removed,
            "running": list(self.running),
            "seconds": self.seconds,
        }


def copy_database(source: "Store", target: "Store", *, replace: bool = False) -> DatabaseCopy:
    """Copy a database into another of either kind, with Optuna's studies.

    A copy that was interrupted is completed by the same call.

    Args:
        source: Opened.
        target: Opened; empty, or what an interrupted copy of ``source`` left.
        replace: Whether rows of the target are deleted first, whatever they are.

    Raises:
        NuwaError: If both are one database, or the target holds rows that the source does not.
        OutsideError: If a server or disk fails, or the target is written to by others meanwhile.
    """
    if source.command_url == target.command_url:
        raise NuwaError(f"{source.shown_url} cannot be copied onto itself", hint="name another database as the target")
    begun = time.monotonic()
    removed = 0
    if replace:
        removed = sum(count_rows(target).values())
        empty(target)
    if find_study_schema(source)[0] and not find_study_schema(target)[0]:
        from nuwa_search.search.study import make_study_tables  # takes seconds to import

        make_study_tables(target.url.render_as_string(hide_password=False))
    running = running_work(source)
    tables = copy_rows(source, target)
    return DatabaseCopy(source.shown_url, target.shown_url, tables, removed, running, time.monotonic() - begun)
