"""Open the database that a command works on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nuwa.settings import default_db_url
from nuwa.store.store import Store, open_store


@contextmanager
def database(values: Mapping[str, Any]) -> Iterator[Store]:
    """Open the database named by ``--db``, or the user's own, for the length of a block."""
    store = open_store(values["db"] or default_db_url())
    try:
        yield store
    finally:
        store.close()
