"""Keep the accuracy of a subnet in one row: latency rows, one for each device, no longer repeat it.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0008"
down_revision = "0007"

COLUMNS = "(device_pk, task_pk, base_pk, latency_ms, top1, subnet_pk)"
GROUP = "f.device_pk = {row}.device_pk AND f.task_pk = {row}.task_pk AND f.base_pk = {row}.base_pk"
# The last point of a front that is not slower is also the most accurate of them: nothing else of the front needs to
# be looked at to tell whether a new point is beaten.
LAST = f"""
    SELECT f.latency_ms, f.top1 FROM {{schema}}nuwa_fronts f
    WHERE {GROUP} AND f.latency_ms <= {{row}}.latency_ms
    ORDER BY f.latency_ms DESC, f.top1 DESC LIMIT 1
"""
# What a point beats follows it on the front, up to the first that is more accurate.
BEATEN = f"""
    {GROUP} AND f.latency_ms >= {{row}}.latency_ms AND f.top1 <= {{top1}}
    AND (f.latency_ms > {{row}}.latency_ms OR f.top1 < {{top1}})
    AND f.latency_ms < coalesce((
        SELECT n.latency_ms FROM {{schema}}nuwa_fronts n
        WHERE n.device_pk = {{row}}.device_pk AND n.task_pk = {{row}}.task_pk AND n.base_pk = {{row}}.base_pk
          AND n.latency_ms >= {{row}}.latency_ms AND n.top1 > {{top1}}
        ORDER BY n.latency_ms LIMIT 1), {{infinity}})
"""
IS_MOVED = """
    OLD.latency_ms <> NEW.latency_ms OR OLD.device_pk <> NEW.device_pk OR OLD.task_pk <> NEW.task_pk
    OR OLD.base_pk <> NEW.base_pk OR OLD.subnet_pk <> NEW.subnet_pk
"""
IS_WORSE = """
    NEW.latency_ms > OLD.latency_ms OR NEW.device_pk <> OLD.device_pk OR NEW.task_pk <> OLD.task_pk
    OR NEW.base_pk <> OLD.base_pk OR NEW.subnet_pk <> OLD.subnet_pk
"""
IS_OLD = """
    subnet_pk = OLD.subnet_pk AND device_pk = OLD.device_pk AND latency_ms = OLD.latency_ms
    AND task_pk = OLD.task_pk AND base_pk = OLD.base_pk
"""


def _sqlite_beaten(row: str, top1: str) -> str:
    return BEATEN.format(row=row, top1=top1, schema="", infinity="9e999")


def _sqlite_unbeaten(row: str, top1: str) -> str:
    last = LAST.format(row=row, schema="")
    return f"""
        NOT EXISTS (SELECT 1 FROM ({last}) p
                    WHERE p.top1 > {top1} OR (p.top1 = {top1} AND p.latency_ms < {row}.latency_ms))
    """


_NEW_TOP1 = "(SELECT s.top1 FROM nuwa_subnets s WHERE s.pk = NEW.subnet_pk)"
_MAY_ENTER = f"""
    EXISTS (SELECT 1 FROM nuwa_subnets s
            WHERE s.pk = NEW.subnet_pk AND s.top1 IS NOT NULL AND {_sqlite_unbeaten("NEW", "s.top1")})
"""
_ENTER = f"""
    DELETE FROM nuwa_fronts WHERE rowid IN (
        SELECT f.rowid FROM nuwa_subnets s JOIN nuwa_fronts f ON {_sqlite_beaten("NEW", "s.top1")}
        WHERE s.pk = NEW.subnet_pk);
    INSERT INTO nuwa_fronts {COLUMNS}
    VALUES (NEW.device_pk, NEW.task_pk, NEW.base_pk, NEW.latency_ms, {_NEW_TOP1}, NEW.subnet_pk);
"""
_WAS_ON_FRONT = f"EXISTS (SELECT 1 FROM nuwa_fronts WHERE {IS_OLD})"
_LEAVE = f"""
    INSERT INTO nuwa_stale_fronts SELECT OLD.device_pk, OLD.task_pk
    WHERE ({{is_worse}})
      AND NOT EXISTS (SELECT 1 FROM nuwa_stale_fronts WHERE device_pk = OLD.device_pk AND task_pk = OLD.task_pk);
    DELETE FROM nuwa_fronts WHERE {IS_OLD};
"""
# A changed row leaves by one trigger and enters by another, in whatever order they come: most rows do neither, and
# their conditions cost a few look-ups.
SQLITE = (
    f"""
    CREATE TRIGGER nuwa_fronts_insert AFTER INSERT ON nuwa_latencies WHEN {_MAY_ENTER}
    BEGIN {_ENTER} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_leave AFTER UPDATE ON nuwa_latencies WHEN ({IS_MOVED}) AND {_WAS_ON_FRONT}
    BEGIN {_LEAVE.format(is_worse=IS_WORSE)} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_enter AFTER UPDATE ON nuwa_latencies WHEN ({IS_MOVED}) AND {_MAY_ENTER}
    BEGIN {_ENTER} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_delete AFTER DELETE ON nuwa_latencies WHEN {_WAS_ON_FRONT}
    BEGIN {_LEAVE.format(is_worse="1")} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_score AFTER UPDATE OF top1 ON nuwa_subnets WHEN OLD.top1 IS NOT NEW.top1
    BEGIN
        INSERT INTO nuwa_stale_fronts SELECT DISTINCT f.device_pk, f.task_pk FROM nuwa_fronts f
        WHERE f.subnet_pk = OLD.pk AND (NEW.top1 IS NULL OR NEW.top1 < OLD.top1)
          AND NOT EXISTS (SELECT 1 FROM nuwa_stale_fronts s
                          WHERE s.device_pk = f.device_pk AND s.task_pk = f.task_pk);
        DELETE FROM nuwa_fronts WHERE subnet_pk = OLD.pk;
        INSERT INTO nuwa_fronts {COLUMNS}
        SELECT l.device_pk, l.task_pk, l.base_pk, l.latency_ms, NEW.top1, l.subnet_pk FROM nuwa_latencies l
        WHERE l.subnet_pk = NEW.pk AND NEW.top1 IS NOT NULL AND {_sqlite_unbeaten("l", "NEW.top1")};
        DELETE FROM nuwa_fronts WHERE rowid IN (
            SELECT f.rowid FROM nuwa_fronts e JOIN nuwa_fronts f ON {_sqlite_beaten("e", "NEW.top1")}
            WHERE e.subnet_pk = NEW.pk);
    END
    """,
)

_PG = {"schema": "nuwa.", "infinity": "'Infinity'::double precision"}
# Rows that another writer holds are skipped instead of waited for, or two writers could wait for each other for ever;
# what is skipped is at most one point too many, or makes the pair stale. The subnet's row is held while a latency is
# written: else a score that is stored meanwhile would not see that latency, nor the latency the score.
_KEEP_FRONTS = f"""
    CREATE OR REPLACE FUNCTION nuwa.nuwa_keep_fronts() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        last record;
        num_left integer;
        accuracy double precision;
    BEGIN
        IF TG_OP <> 'INSERT' AND EXISTS (SELECT 1 FROM nuwa.nuwa_fronts WHERE {IS_OLD}) THEN
            DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM nuwa.nuwa_fronts WHERE {IS_OLD} FOR UPDATE SKIP LOCKED));
            GET DIAGNOSTICS num_left = ROW_COUNT;
            IF num_left = 0 OR TG_OP = 'DELETE' OR ({IS_WORSE}) THEN
                INSERT INTO nuwa.nuwa_stale_fronts VALUES (OLD.device_pk, OLD.task_pk);
            END IF;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            SELECT top1 INTO accuracy FROM nuwa.nuwa_subnets WHERE pk = NEW.subnet_pk FOR SHARE;
            IF accuracy IS NOT NULL THEN
                SELECT p.* INTO last FROM ({LAST.format(row="NEW", **_PG)}) p;
                IF NOT FOUND OR last.top1 < accuracy OR (last.top1 = accuracy AND last.latency_ms = NEW.latency_ms) THEN
                    DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
                        SELECT f.ctid FROM nuwa.nuwa_fronts f
                        WHERE {BEATEN.format(row="NEW", top1="accuracy", **_PG)} FOR UPDATE SKIP LOCKED));
                    INSERT INTO nuwa.nuwa_fronts {COLUMNS} VALUES
                        (NEW.device_pk, NEW.task_pk, NEW.base_pk, NEW.latency_ms, accuracy, NEW.subnet_pk);
                END IF;
            END IF;
        END IF;
        RETURN NULL;
    END $$
"""
_CHANGED = """
    changed AS (
        SELECT n.pk, n.top1, coalesce(n.top1 IS NULL OR n.top1 < o.top1, false) AS is_worse
        FROM new_rows n JOIN old_rows o ON o.pk = n.pk WHERE n.top1 IS DISTINCT FROM o.top1)
"""
# All the scores of a statement at once, thousands of them: first their old points leave, then those enter that no
# point of the fronts and no other of them beats, and what they beat leaves. OFFSET 0 makes the planner look rows up by
# subnet: it does not know how many of them change, and would else read the whole table to join it.
_KEEP_FRONTS_OF_SCORES = f"""
    CREATE FUNCTION nuwa.nuwa_keep_fronts_of_scores() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        WITH {_CHANGED},
        mine AS (
            SELECT f.place, f.device_pk, f.task_pk, c.is_worse
            FROM changed c CROSS JOIN LATERAL (
                SELECT g.ctid AS place, g.device_pk, g.task_pk FROM nuwa.nuwa_fronts g
                WHERE g.subnet_pk = c.pk OFFSET 0) f),
        gone AS (
            DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
                SELECT f.ctid FROM nuwa.nuwa_fronts f WHERE f.ctid = ANY (ARRAY(SELECT place FROM mine))
                FOR UPDATE SKIP LOCKED))
            RETURNING ctid AS place)
        INSERT INTO nuwa.nuwa_stale_fronts SELECT DISTINCT m.device_pk, m.task_pk FROM mine m
        WHERE m.is_worse OR NOT EXISTS (SELECT 1 FROM gone g WHERE g.place = m.place);
        WITH {_CHANGED},
        unbeaten AS (
            SELECT l.device_pk, l.task_pk, l.base_pk, l.latency_ms, c.top1, l.subnet_pk
            FROM changed c
            CROSS JOIN LATERAL (SELECT * FROM nuwa.nuwa_latencies r WHERE r.subnet_pk = c.pk OFFSET 0) l
            LEFT JOIN LATERAL ({LAST.format(row="l", **_PG)}) p ON true
            WHERE c.top1 IS NOT NULL
              AND (p.top1 IS NULL OR p.top1 < c.top1 OR (p.top1 = c.top1 AND p.latency_ms = l.latency_ms))),
        compared AS (
            SELECT u.*, max(top1) OVER (PARTITION BY device_pk, task_pk, base_pk ORDER BY latency_ms) AS best,
                   min(latency_ms) OVER (PARTITION BY device_pk, task_pk, base_pk, top1) AS fastest
            FROM unbeaten u),
        entered AS (
            INSERT INTO nuwa.nuwa_fronts {COLUMNS}
            SELECT device_pk, task_pk, base_pk, latency_ms, top1, subnet_pk FROM compared
            WHERE top1 = best AND latency_ms = fastest
            RETURNING device_pk, task_pk, base_pk, latency_ms, top1)
        DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
            SELECT f.ctid FROM entered e JOIN nuwa.nuwa_fronts f ON {BEATEN.format(row="e", top1="e.top1", **_PG)}
            FOR UPDATE OF f SKIP LOCKED));
        RETURN NULL;
    END $$
"""
POSTGRES = (
    _KEEP_FRONTS,
    _KEEP_FRONTS_OF_SCORES,
    """
    CREATE TRIGGER nuwa_fronts_insert AFTER INSERT ON nuwa_latencies
    FOR EACH ROW EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_update AFTER UPDATE ON nuwa_latencies
    FOR EACH ROW WHEN ({IS_MOVED}) EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
    """
    CREATE TRIGGER nuwa_fronts_delete AFTER DELETE ON nuwa_latencies
    FOR EACH ROW EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
    """
    CREATE TRIGGER nuwa_fronts_score AFTER UPDATE ON nuwa_subnets
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION nuwa.nuwa_keep_fronts_of_scores()
    """,
)
OLD_TRIGGERS = {
    "sqlite": ("insert", "leave", "enter", "delete"),
    "postgresql": ("insert", "update", "delete"),
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    for name in OLD_TRIGGERS[dialect]:
        op.execute(f"DROP TRIGGER nuwa_fronts_{name}{'' if dialect == 'sqlite' else ' ON nuwa_latencies'}")
    for name in ("top1", "latency", "measured"):
        op.drop_index(f"ix_nuwa_latencies_{name}", "nuwa_latencies")
    # A program of before that is still at work fails at its next score, instead of mending fronts by accuracies that
    # nobody keeps any more.
    op.drop_column("nuwa_latencies", "top1")
    by_latency = ["device_pk", "task_pk", "latency_ms", "base_pk", "subnet_pk"]
    op.create_index("ix_nuwa_latencies_latency", "nuwa_latencies", by_latency)
    measured = sa.text("measured_latency_ms IS NOT NULL")
    op.create_index(
        "ix_nuwa_latencies_measured",
        "nuwa_latencies",
        by_latency,
        sqlite_where=measured,
        postgresql_where=measured,
    )
    op.drop_index("ix_nuwa_subnets_task_pk", "nuwa_subnets")
    by_top1: list[str | sa.TextClause] = ["task_pk", sa.text("top1 DESC"), "base_pk", "pk"]
    op.create_index("ix_nuwa_subnets_top1", "nuwa_subnets", by_top1)
    op.create_index("ix_nuwa_fronts_subnet_pk", "nuwa_fronts", ["subnet_pk"])
    for statement in SQLITE if dialect == "sqlite" else POSTGRES:
        op.execute(statement)
    if dialect != "sqlite":
        # A latency and a score that were written at once could miss each other until now: every front is found anew.
        op.execute("DELETE FROM nuwa_stale_fronts")
        op.execute("INSERT INTO nuwa_stale_fronts SELECT DISTINCT device_pk, task_pk FROM nuwa_latencies")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
