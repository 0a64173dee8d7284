"""Open the database that a command works on."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_db_url

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


@contextmanager
def database(values: Mapping[str, Any], *, must_exist: bool = False) -> Iterator["Store"]:
    """Open the database named by ``--db``, or the user's own, for the length of a block.

    Args:
        values: Of the common flags.
        must_exist: Whether a named SQLite file that is not there is an error instead of a new database.

    Raises:
        NuwaError: If it must exist and does not.
    """
    if must_exist:
        require_named_file(values)
    from nuwa_search.store.store import open_store  # SQLAlchemy, which help and a usage error do without

    store = open_store(values["db"] or default_db_url())
    tell_upgrade(store, quiet=bool(values.get("quiet")))
    try:
        yield store
    finally:
        store.close()


def tell_upgrade(store: "Store", *, quiet: bool) -> None:
    """Print on stderr where the copy lies that opening made of a file with an older schema."""
    if store.backup_path is None or quiet:
        return
    from nuwa_search.store.upgrading import upgraded_line

    print(upgraded_line(store), file=sys.stderr, flush=True)


def require_named_file(
    values: Mapping[str, Any], *, hint: str = "check --db; `nuwa config show` says where it is from"
) -> None:
    """Refuse a named SQLite file that is not there.

    Args:
        values: With ``db``, a path or a URL.
        hint: Where its name may be from.

    Raises:
        NuwaError: If it is not there; the hint tells where its name may be from.
    """
    named = values["db"]
    path = named.removeprefix("sqlite:///") if named else ""
    if path and "://" not in path and not expanded(path).exists():
        raise NuwaError(f"there is no database at {named}", hint=hint)
