"""Opening databases: new, current, newer, older, broken, out of reach."""

import dataclasses
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, inspect, text

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.store.columns import StoreTable
from nuwa_search.store.database import url_from_text
from nuwa_search.store.revisions import HEAD, REVISIONS, VERSION_TABLE
from nuwa_search.store.schema import alembic_config, find_revision
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import WHERE
from tests.support.store_values import BOARDS, NANO, prediction, record_basics, subnet

OLD_FILES = Path(__file__).resolve().parent.parent / "data"


def test_migrations_build_what_the_tables_say(store: Store) -> None:
    def is_comparable(_item: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        # Alembic cannot compare indexes with a direction on SQLite; on PostgreSQL it does.
        return not (store.is_sqlite and kind == "index" and name == "ix_nuwa_subnets_top1")

    with store.read() as connection:
        opts = {"version_table": VERSION_TABLE, "include_object": is_comparable}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), StoreTable.metadata) == []


def test_accuracy_is_in_one_index_on_both_databases(store: Store) -> None:
    """An index on latencies that held accuracy would cost as many writes a score as there are devices."""
    with store.read() as connection:
        found = {
            str(index["name"])
            for table in ("nuwa_subnets", "nuwa_latencies")
            for index in inspect(connection).get_indexes(table)
            if "top1" in index["column_names"]
        }
    assert found == {"ix_nuwa_subnets_top1"}


def test_partial_indexes_hold_what_the_tables_say(store: Store) -> None:
    said = {
        (table.name, index.name): index.info[WHERE]
        for table in StoreTable.metadata.sorted_tables
        for index in table.indexes
        if WHERE in index.info
    }
    assert len(said) == 2
    dialect = "sqlite" if store.is_sqlite else "postgresql"
    with store.read() as connection:
        for (table, name), where in said.items():
            (found,) = (index for index in inspect(connection).get_indexes(table) if index["name"] == name)
            text_there = found["dialect_options"][f"{dialect}_where"]
            words = [word for word in re.findall(r"\w+", where) if word != "IN"]  # PostgreSQL writes = ANY (ARRAY[…])
            assert all(word in str(text_there) for word in words)


def test_opening_again_changes_nothing(store_url: str) -> None:
    with open_store(store_url) as store:
        store.record_device(NANO)
    with open_store(store_url) as store:
        assert [record.spec for record in store.devices()] == [NANO]
        with store.read() as connection:
            assert find_revision(connection) == HEAD == REVISIONS[-1]


def test_newer_database_is_refused_with_words(store_url: str) -> None:
    with open_store(store_url) as store, store.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
    try:
        with pytest.raises(NuwaError, match="from a newer version") as error:
            open_store(store_url)
        assert error.value.exit_code == 2
        assert "upgrade" in error.value.hint
    finally:
        engine_url = url_from_text(store_url)
        engine = create_engine(engine_url)
        with engine.begin() as connection:
            table = VERSION_TABLE if engine_url.get_backend_name() == "sqlite" else f"nuwa.{VERSION_TABLE}"
            connection.execute(text(f"UPDATE {table} SET version_num = '{HEAD}'"))
        engine.dispose()


def test_downgrade_is_refused_with_words(store: Store) -> None:
    record_basics(store)
    with pytest.raises(NuwaError, match="cannot be taken back"), store.write() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert len(store.devices()) == 2


def test_database_shared_with_optuna_keeps_both(tmp_path: Path) -> None:
    import optuna

    path = tmp_path / "both.sqlite"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(study_name="ours", storage=f"sqlite:///{path}")
    with open_store(str(path)) as store:
        record_basics(store)
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["ours"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_files_of_earlier_versions_are_upgraded(revision: str, tmp_path: Path) -> None:
    name = f"store_v{int(revision)}.sqlite"
    path = tmp_path / name
    path.write_bytes((OLD_FILES / name).read_bytes())
    with open_store(str(path)) as store:
        specs = [record.spec for record in store.devices()]
        assert dataclasses.replace(NANO, options=()) in specs  # the first emulator's, which names no version
        assert (NANO in specs) is (int(revision) >= 5)
        store.record_device(NANO)
        assert store.load_subnet("subnet-0") == subnet(0, study="study")
        (search,) = store.searches()
        assert (search.study, search.state) == ("study", "done")
        store.record_predicted_latencies([prediction(0, 1.25)])
        events = len(store.events("study"))
        job = store.add_job("search", {"budget_ms": 5.0}, study="study")
        assert [event.kind for event in store.events("study")[events:]] == ["state"]
        assert (store.load_task("task-0").pipeline, store.load_task("task-0").source) == (1, {})
        kept = [(row["study"], row["metric"], row["top1"], row["miou"]) for row in store.collaborations.find()]
        assert kept == ([("boards", "top1", 0.75, None)] if int(revision) >= 6 else [])
        store.record_collaboration(dataclasses.replace(BOARDS, metric="miou"))
        (row,) = store.collaborations.find()
        assert (row["top1"], row["rival_top1"], row["miou"], row["rival_miou"]) == (None, None, 0.75, 0.5)
        assert [board.name for board in store.boards("lab")] == (["nano-1", "nano-2"] if int(revision) >= 7 else [])
        store.save_pool("lab", ("nano-2", "nano-3"))
        if int(revision) >= 4:
            assert store.load_task("task-2").pipeline == 2
            assert store.load_task("task-2").source == {"label_column": "label", "seed": 3}
        if int(revision) >= 2:
            assert [old.state for old in store.jobs(study="study")] == ["queued", "done"]
            assert store.jobs()[0].job_id == job.job_id


@pytest.mark.parametrize("content", [b"this is no database " * 300, b"SQLite format 3\0" + bytes(range(256)) * 20])
def test_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.sqlite"
    path.write_bytes(content)
    with pytest.raises(NuwaError, match="cannot be read as a search database") as error:
        open_store(str(path))
    assert error.value.exit_code == 2
    assert path.read_bytes() == content


def test_truncated_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.sqlite"
    with open_store(str(path)) as store:
        record_basics(store)
    path.write_bytes(path.read_bytes()[: 3 * 4096])
    with pytest.raises(NuwaError) as error, open_store(str(path)) as store:
        store.devices()
    assert error.value.exit_code == 2


@pytest.mark.parametrize("url", ["", "  ", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "://"])
def test_urls_that_cannot_work_are_refused(url: str) -> None:
    with pytest.raises(NuwaError) as error:
        open_store(url)
    assert error.value.exit_code == 2
    assert error.value.hint


def test_server_out_of_reach_is_an_outside_failure_without_password() -> None:
    with pytest.raises(OutsideError, match="does not answer") as error:
        open_store("postgresql://someone:hidden@127.0.0.1:1/nuwa")
    assert "hidden" not in str(error.value)


def test_folder_that_cannot_be_made_is_an_outside_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutsideError, match="folder"):
        open_store(str(tmp_path / "file" / "nuwa.sqlite"))


def test_full_disk_is_an_outside_failure_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "full.sqlite"
    with open_store(str(path)) as store:
        record_basics(store)
    with open_store(str(path)) as store:
        store.engine.dispose()
        event.listen(store.engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 1"))
        with pytest.raises(OutsideError, match="no space left"):
            store.record_subnets(subnet(n) for n in range(2000))
    with open_store(str(path)) as store:
        assert len(store.devices()) == 2


def test_read_only_file_is_an_outside_failure(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        store.engine.dispose()
        event.listen(store.engine, "connect", lambda raw, _: raw.execute("PRAGMA query_only = ON"))
        with pytest.raises(OutsideError, match="read-only"):
            record_basics(store)


def test_opening_a_current_database_loads_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "nuwa.sqlite"
    open_store(str(path)).close()
    code = (
        "import sys; from nuwa_search.store.store import open_store; from nuwa_search.store.query import Subnets;"
        "from nuwa_search.store import lists, sql, budget;"
        f"store = open_store({str(path)!r}); store.subnets.find(pareto=True);"
        "sql.run_sql(store, 'SELECT * FROM v_subnets');"
        "print(sorted({'torch', 'timm', 'pandas', 'numpy', 'alembic', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_programs_file_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "songs.sqlite"
    with closing(sqlite3.connect(path)) as songs:
        songs.execute("CREATE TABLE songs (name TEXT)")
        songs.commit()
    before = path.read_bytes()
    with pytest.raises(NuwaError, match="belongs to another program: it holds songs"):
        open_store(str(path))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["songs.sqlite"]
