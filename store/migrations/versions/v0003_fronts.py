"""Keep the fronts of accuracy against latency in a table of their own, by triggers on the latency rows.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0003"
down_revision = "0002"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The last point of a front that is not slower is also the most accurate of them: nothing else of the
# front needs to be looked at to tell whether a new point is beaten.
LAST = """
    SELECT f.latency_ms, f.top1 FROM {fronts} f
    WHERE f.device_pk = NEW.device_pk AND f.task_pk = NEW.task_pk AND f.base_pk = NEW.base_pk
      AND f.latency_ms <= NEW.latency_ms
    ORDER BY f.latency_ms DESC, f.top1 DESC LIMIT 1
"""
BEATEN_BY_NEW = """
    device_pk = NEW.device_pk AND task_pk = NEW.task_pk AND base_pk = NEW.base_pk
    AND latency_ms >= NEW.latency_ms AND top1 <= NEW.top1 AND (latency_ms > NEW.latency_ms OR top1 < NEW.top1)
"""
IS_OLD = """
    device_pk = OLD.device_pk AND task_pk = OLD.task_pk AND base_pk = OLD.base_pk
    AND latency_ms = OLD.latency_ms AND top1 = OLD.top1 AND subnet_pk = OLD.subnet_pk
"""
IS_WORSE = """
    NEW.top1 IS NULL OR NEW.top1 < OLD.top1 OR NEW.latency_ms > OLD.latency_ms
    OR NEW.device_pk <> OLD.device_pk OR NEW.task_pk <> OLD.task_pk OR NEW.base_pk <> OLD.base_pk
"""
NEW_POINT = "(NEW.device_pk, NEW.task_pk, NEW.base_pk, NEW.latency_ms, NEW.top1, NEW.subnet_pk)"
COLUMNS = "(device_pk, task_pk, base_pk, latency_ms, top1, subnet_pk)"

_IS_BEATEN = f"""
    EXISTS (SELECT 1 FROM ({LAST.format(fronts="nuwa_fronts")}) p
            WHERE p.top1 > NEW.top1 OR (p.top1 = NEW.top1 AND p.latency_ms < NEW.latency_ms))
"""
_IS_CHANGED = """
    (OLD.latency_ms <> NEW.latency_ms OR OLD.top1 IS NOT NEW.top1 OR OLD.device_pk <> NEW.device_pk
     OR OLD.task_pk <> NEW.task_pk OR OLD.base_pk <> NEW.base_pk OR OLD.subnet_pk <> NEW.subnet_pk)
"""
_WAS_ON_FRONT = f"OLD.top1 IS NOT NULL AND EXISTS (SELECT 1 FROM nuwa_fronts WHERE {IS_OLD})"
_LEAVE_SQLITE = f"""
    INSERT INTO nuwa_stale_fronts SELECT OLD.device_pk, OLD.task_pk
    WHERE ({{is_worse}})
      AND NOT EXISTS (SELECT 1 FROM nuwa_stale_fronts WHERE device_pk = OLD.device_pk AND task_pk = OLD.task_pk);
    DELETE FROM nuwa_fronts WHERE {IS_OLD};
"""
_ENTER_SQLITE = f"""
    DELETE FROM nuwa_fronts WHERE {BEATEN_BY_NEW};
    INSERT INTO nuwa_fronts {COLUMNS} VALUES {NEW_POINT};
"""
# A changed row leaves by one trigger and enters by another, in whatever order they come: most rows do neither, and
# their conditions cost two look-ups.
SQLITE = (
    f"""
    CREATE TRIGGER nuwa_fronts_insert AFTER INSERT ON nuwa_latencies
    WHEN NEW.top1 IS NOT NULL AND NOT {_IS_BEATEN}
    BEGIN {_ENTER_SQLITE} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_leave AFTER UPDATE ON nuwa_latencies WHEN {_IS_CHANGED} AND {_WAS_ON_FRONT}
    BEGIN {_LEAVE_SQLITE.format(is_worse=IS_WORSE)} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_enter AFTER UPDATE ON nuwa_latencies
    WHEN {_IS_CHANGED} AND NEW.top1 IS NOT NULL AND NOT {_IS_BEATEN}
    BEGIN {_ENTER_SQLITE} END
    """,
    f"""
    CREATE TRIGGER nuwa_fronts_delete AFTER DELETE ON nuwa_latencies WHEN {_WAS_ON_FRONT}
    BEGIN {_LEAVE_SQLITE.format(is_worse="1")} END
    """,
)

# Rows that another writer holds are skipped instead of waited for, or two writers could wait for each
# other for ever; what is skipped is at most one point too many, or makes the pair stale.
POSTGRES = (
    f"""
    CREATE FUNCTION nuwa.nuwa_keep_fronts() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        last record;
        num_left integer;
    BEGIN
        IF TG_OP <> 'INSERT' AND OLD.top1 IS NOT NULL
           AND EXISTS (SELECT 1 FROM nuwa.nuwa_fronts WHERE {IS_OLD}) THEN
            DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM nuwa.nuwa_fronts WHERE {IS_OLD} FOR UPDATE SKIP LOCKED));
            GET DIAGNOSTICS num_left = ROW_COUNT;
            IF num_left = 0 OR TG_OP = 'DELETE' OR ({IS_WORSE}) THEN
                INSERT INTO nuwa.nuwa_stale_fronts VALUES (OLD.device_pk, OLD.task_pk);
            END IF;
        END IF;
        IF TG_OP <> 'DELETE' AND NEW.top1 IS NOT NULL THEN
            {LAST.format(fronts="nuwa.nuwa_fronts").replace("f.latency_ms, f.top1 FROM", "f.latency_ms, f.top1 INTO last FROM")};
            IF NOT FOUND OR last.top1 < NEW.top1
               OR (last.top1 = NEW.top1 AND last.latency_ms = NEW.latency_ms) THEN
                DELETE FROM nuwa.nuwa_fronts WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM nuwa.nuwa_fronts WHERE {BEATEN_BY_NEW} FOR UPDATE SKIP LOCKED));
                INSERT INTO nuwa.nuwa_fronts {COLUMNS} VALUES {NEW_POINT};
            END IF;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER nuwa_fronts_insert AFTER INSERT ON nuwa_latencies
    FOR EACH ROW WHEN (NEW.top1 IS NOT NULL) EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
    """
    CREATE TRIGGER nuwa_fronts_update AFTER UPDATE ON nuwa_latencies
    FOR EACH ROW WHEN (OLD.latency_ms <> NEW.latency_ms OR OLD.top1 IS DISTINCT FROM NEW.top1
        OR OLD.device_pk <> NEW.device_pk OR OLD.task_pk <> NEW.task_pk OR OLD.base_pk <> NEW.base_pk
        OR OLD.subnet_pk <> NEW.subnet_pk) EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
    """
    CREATE TRIGGER nuwa_fronts_delete AFTER DELETE ON nuwa_latencies
    FOR EACH ROW WHEN (OLD.top1 IS NOT NULL) EXECUTE FUNCTION nuwa.nuwa_keep_fronts()
    """,
)
FILL = f"""
    INSERT INTO nuwa_fronts {COLUMNS}
    SELECT device_pk, task_pk, base_pk, latency_ms, top1, subnet_pk
    FROM (SELECT l.*, max(top1) OVER (PARTITION BY device_pk, task_pk, base_pk ORDER BY latency_ms) AS best,
                 min(latency_ms) OVER (PARTITION BY device_pk, task_pk, base_pk, top1) AS fastest
          FROM nuwa_latencies l WHERE top1 IS NOT NULL) points
    WHERE top1 = best AND latency_ms = fastest
"""


def upgrade() -> None:
    op.create_table(
        "nuwa_fronts",
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("task_pk", BIG, nullable=False),
        sa.Column("base_pk", BIG, nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("top1", sa.Double(), nullable=False),
        sa.Column("subnet_pk", BIG, nullable=False),
    )
    order = ["device_pk", "task_pk", "base_pk", "latency_ms", "top1", "subnet_pk"]
    op.create_index("ix_nuwa_fronts_order", "nuwa_fronts", order, unique=False)
    op.create_table(
        "nuwa_stale_fronts",
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("task_pk", BIG, nullable=False),
    )
    op.create_index("ix_nuwa_stale_fronts_order", "nuwa_stale_fronts", ["device_pk", "task_pk"], unique=False)
    op.execute(FILL)
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRES:
        op.execute(statement)


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
