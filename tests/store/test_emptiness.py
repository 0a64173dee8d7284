"""Whether a database holds nothing is known without SQLAlchemy, and never said of one that holds something."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from nuwa_search.store.emptiness import _NOUNS, is_empty
from nuwa_search.store.revisions import VERSION_TABLE
from nuwa_search.store.store import open_store
from tests.support.store_values import NANO


def test_a_database_is_empty_until_something_is_put_into_it(tmp_path: Path) -> None:
    path = tmp_path / "a?b %.sqlite"
    assert is_empty(str(tmp_path / "new.sqlite"))
    assert not is_empty(str(path))  # a name that SQLite's URLs would read otherwise is left to the store
    path = tmp_path / "a b %20.sqlite"
    with open_store(str(path)) as store:
        assert is_empty(str(path))
        assert is_empty(f"sqlite:///{path}")
        store.record_device(NANO)
        assert not is_empty(str(path))
    assert not is_empty(str(path))


def test_a_row_of_any_noun_counts(tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    open_store(str(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        for noun in _NOUNS:
            columns = connection.execute(f"PRAGMA table_info({noun})").fetchall()
            needed = [name for _, name, _, is_needed, _, is_key in columns if is_needed and not is_key]
            connection.execute(f"INSERT INTO {noun} ({', '.join(needed)}) VALUES ({', '.join('1' for _ in needed)})")
            connection.commit()
            assert not is_empty(str(path)), noun
            connection.execute(f"DELETE FROM {noun}")
            connection.commit()
            assert is_empty(str(path)), noun


def test_what_only_the_store_can_judge_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with open_store(str(path)) as store:
        with store.write() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
        assert not is_empty(str(path))
    path.write_bytes(b"no database at all" * 100)
    assert not is_empty(str(path))
    assert not is_empty(str(tmp_path))
    assert not is_empty("postgresql://user@host/name")
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "gone.sqlite")
    assert not is_empty(str(tmp_path / "link.sqlite"))
