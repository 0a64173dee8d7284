"""Users' own SELECTs: views can be read, and nothing else can be done."""

import json
import re
import resource
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.sql import run_sql
from nuwa_search.store.sql_postgres import check_calls
from nuwa_search.store.store import Store
from tests.support.store_values import measured, prediction, record_basics, subnet, top1

PROMPT_S = 60  # what is refused or stopped would take for ever; a busy machine may take seconds to say so
VIEWS = [
    *("v_devices", "v_subnets", "v_latencies", "v_lut_entries", "v_scores", "v_studies", "v_certificates"),
    "v_collaborations",
    "v_boards",
]


@pytest.fixture(scope="module")
def filled(module_store: Store) -> Store:
    store = module_store
    record_basics(store)
    store.record_subnets([subnet(0), subnet(1)])
    store.record_scores([top1(0, 0.5), top1(1, 0.75)])
    store.record_predicted_latencies([prediction(0, 2.0), prediction(1, 3.0)])
    store.save_measurement(measured(2.5), subnet_id="subnet-0")
    return store


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read(filled: Store, view: str) -> None:
    assert run_sql(filled, f"SELECT * FROM {view}").columns


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT subnet_id FROM v_subnets WHERE latency_ms < 2.75;", (("subnet-0",),)),
        ("SELECT max(top1), count(*) FROM v_subnets -- all of them", ((0.75, 2),)),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) SELECT sum(i) FROM n", ((10,),)),
        ("SELECT 'pg_read_file(1); DROP' AS \"a (b\"", (("pg_read_file(1); DROP",),)),
        (
            "SELECT subnet_id, row_number() OVER (ORDER BY top1 DESC) FROM v_subnets ORDER BY 2 LIMIT 1",
            (("subnet-1", 1),),
        ),
        ("SELECT provenance FROM v_latencies WHERE figure IN ('measured')", (("emulated",),)),
    ],
)
def test_selects_are_answered(filled: Store, query: str, rows: tuple[tuple[object, ...], ...]) -> None:
    assert run_sql(filled, query).rows == rows


def test_values_are_plain_on_both_databases(filled: Store) -> None:
    result = run_sql(filled, "SELECT created_at FROM v_subnets LIMIT 1")
    ((moment,),) = result.rows
    assert time.strptime(moment[:19], "%Y-%m-%d %H:%M:%S")
    assert len(moment) == 26


def test_too_many_rows_are_cut_and_said(filled: Store) -> None:
    result = run_sql(filled, "SELECT subnet_id FROM v_subnets ORDER BY 1", max_rows=1)
    assert (result.rows, result.is_truncated) == ((("subnet-0",),), True)
    assert not run_sql(filled, "SELECT subnet_id FROM v_subnets", max_rows=2).is_truncated


REFUSED = [
    "DELETE FROM nuwa_devices",
    "INSERT INTO nuwa_events VALUES (1)",
    "UPDATE nuwa_devices SET name = 'x'",
    "DROP TABLE nuwa_events",
    "CREATE TEMP TABLE x AS SELECT 1",
    "WITH x AS (DELETE FROM nuwa_events RETURNING 1) SELECT * FROM x",
    "SELECT * INTO x FROM v_devices",
    "SELECT 1; DROP TABLE nuwa_events",
    "ATTACH 'other.sqlite' AS other",
    "VACUUM INTO 'copy.sqlite'",
    "PRAGMA user_version = 3",
    "PRAGMA table_info(nuwa_devices)",
    "SELECT * FROM pragma_table_info('nuwa_devices')",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT randomblob(1000000000)",
    "SELECT printf('%1000000000d', 1)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.\"pg_read_file\"('/etc/passwd')",
    "SELECT pg_sleep /* a comment */ (60)",
    "SELECT --\rpg_sleep(60)",
    "SELECT E'\\'', pg_sleep(60) --'",
    "SELECT $$a$$, pg_sleep(60)",
    "WITH pg_sleep(a) AS (SELECT 1) SELECT pg_sleep(60)",
    "SELECT * FROM (SELECT 'x' AS a) s, dblink(a) AS (values text)",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_authid",
    "COPY (SELECT 1) TO '/tmp/x'",
    "COPY nuwa_events FROM '/etc/passwd'",
    "DO $$ BEGIN END $$",
    "SET search_path = public",
    "BEGIN",
    "SELECT * FROM elsewhere",
    "SELEC 1",
    "",
    "SELECT writefile('x', 'y')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM fsdir('/')",
    "DETACH main",
    "REINDEX",
    "ANALYZE",
    "EXPLAIN DELETE FROM nuwa_devices",
    "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "SELECT zeroblob(1000000000)",
    "SELECT char(0) || hex(randomblob(100000000))",
    "SELECT repeat('x', 1000000000)",
    "SELECT lpad('x', 1000000000)",
    "SELECT generate_series(1, 1000000000)",
    "TABLE pg_authid",
    "SELECT * FROM pg_stat_bgwriter",
    "SELECT * FROM information_schema.tables",
    'SELECT * FROM "pg_catalog"."pg_shadow"',
    "SELECT pg_ls_dir('/')",
    "SELECT pg_catalog.pg_read_binary_file('/etc/passwd')",
    "SELECT public.lower('x')",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT nextval('nuwa_events_pk_seq')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_notify('a', 'b')",
    "SELECT dblink_connect('host=127.0.0.1')",
    "SELECT current_setting('data_directory')",
    "SELECT OPERATOR(pg_catalog.-) 1",
    "SELECT xmlparse(document '<a/>')",
    "SELECT * FROM v_devices FOR UPDATE",
    "SET ROLE postgres",
    "RESET statement_timeout",
    "SET LOCAL statement_timeout = 0",
    "SHOW data_directory",
    "PREPARE a AS SELECT 1",
    "LISTEN a",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/x'",
    "CALL x()",
    "COMMIT",
    "SELECT 1; COMMIT; DROP TABLE nuwa_events",
    "SELECT 1) AS a; SELECT (1",
    "SELECT 1) AS a, pg_authid AS nuwa_row WHERE (true",
    "EXPLAIN ANALYZE SELECT 1",
]


@pytest.mark.parametrize("query", REFUSED)
def test_everything_else_is_refused(filled: Store, query: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    with pytest.raises(NuwaError) as error:
        run_sql(filled, query)
    assert error.value.exit_code == 2
    assert time.monotonic() - started < PROMPT_S
    assert len(filled.devices()) == 2
    assert list(tmp_path.iterdir()) == []


def test_tables_of_others_are_closed(filled: Store) -> None:
    schema = "" if filled.is_sqlite else "public."
    with filled.write() as connection:
        connection.execute(text(f"CREATE TABLE IF NOT EXISTS {schema}secrets (word TEXT)"))
    with pytest.raises(NuwaError, match=r"may not (read|use the table)"):
        run_sql(filled, f"SELECT word FROM {schema}secrets")


DOUBLED = (
    "WITH RECURSIVE r(s, i) AS (SELECT CAST('aaaaaaaa' AS TEXT), 1 UNION ALL SELECT s || s, i + 1 FROM r WHERE i < {}) "
)


@pytest.mark.parametrize(
    "query",
    [
        DOUBLED.format(27) + "SELECT length(s) FROM r",
        DOUBLED.format(22) + "SELECT s AS nuwa_row, 1 AS q FROM r ORDER BY i DESC LIMIT 1",
        DOUBLED.format(17)
        + ", n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT s FROM r, n WHERE r.i = 17",
    ],
)
def test_long_texts_are_refused_before_they_fill_the_memory(filled: Store, query: str) -> None:
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with pytest.raises(NuwaError, match=r"10 MB|stopped after"):
        run_sql(filled, query, timeout_s=3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb < 450


def test_a_function_that_takes_for_ever_is_stopped(filled: Store) -> None:
    """A search for half of a long text in itself: minutes inside one call, which no interrupt ends."""
    if not filled.is_sqlite:
        pytest.skip("PostgreSQL's own search does not take long")
    started = time.monotonic()
    with pytest.raises(NuwaError, match=r"stopped after 0\.3 s"):
        run_sql(
            filled,
            DOUBLED.format(20) + "SELECT instr(s, substr(s, 1, length(s) / 2) || 'b') FROM r WHERE i = 20",
            timeout_s=0.3,
        )
    assert time.monotonic() - started < PROMPT_S


def test_time_is_counted_over_the_whole_answer(filled: Store) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    started = time.monotonic()
    with pytest.raises(NuwaError, match=r"stopped after 0\.3 s"):
        run_sql(filled, rows, timeout_s=0.3, max_rows=10**9)
    assert time.monotonic() - started < PROMPT_S


def test_answers_hold_what_json_can_hold(filled: Store) -> None:
    number = "9e999" if filled.is_sqlite else "CAST('Infinity' AS float)"
    ((infinite, classes, nothing),) = run_sql(filled, f"SELECT {number}, classes, NULL FROM v_subnets LIMIT 1").rows
    assert (infinite, json.loads(classes), nothing) == ("inf", ["bus", "train"], None)


def test_nothing_of_the_users_folder_gets_into_the_process(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "sqlite3.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_sql(filled, "SELECT 1 AS a").rows == ((1,),)


def test_endless_query_is_stopped(filled: Store) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    started = time.monotonic()
    with pytest.raises(NuwaError, match=r"stopped after 0\.3 s"):
        run_sql(filled, endless, timeout_s=0.3)
    assert time.monotonic() - started < PROMPT_S


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM v_subnets WHERE top1 IN (SELECT max(top1) FROM v_subnets)",
        "WITH a AS (SELECT 1), b (x) AS MATERIALIZED (SELECT 2) SELECT * FROM a, b",
        "SELECT CAST(top1 AS numeric(4, 2)) FROM v_subnets /* /* nested */ */",
        "SELECT count(*) FILTER (WHERE top1 > .5) FROM v_subnets GROUP BY ROLLUP (device)",
    ],
)
def test_ordinary_parentheses_are_no_calls(query: str) -> None:
    check_calls(query)


def test_documentation_names_every_column_of_every_view(filled: Store, root: Path) -> None:
    rows = [line.split("|") for line in (root / "docs" / "database.md").read_text().splitlines() if "| `v_" in line]
    documented = {row[1].strip(" `"): re.sub(r"\([^)]*\)", "", row[3]).replace("`", "").split(",") for row in rows}
    assert sorted(documented) == sorted(VIEWS)
    for view, columns in documented.items():
        assert tuple(name.strip() for name in columns) == run_sql(filled, f"SELECT * FROM {view} LIMIT 0").columns


def test_documented_query_runs(filled: Store, root: Path) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", (root / "docs" / "database.md").read_text(), re.DOTALL)
    assert run_sql(filled, query).columns == ("subnet_id", "latency_ms", "provenance", "top1", "split")
