"""Add the queue of jobs, the workers that take them, and events of jobs.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0002"
down_revision = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "nuwa_jobs",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("study", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("problem", sa.JSON(), nullable=True),
        sa.Column("is_cancel_wanted", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("owner_host", sa.String(), nullable=True),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.Column("owner_token", sa.String(length=32), nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=True),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("not_before", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_jobs"),
        sa.UniqueConstraint("job_id", name="uq_nuwa_jobs_job_id"),
    )
    op.create_index("ix_nuwa_jobs_state", "nuwa_jobs", ["state"], unique=False)
    op.create_index("ix_nuwa_jobs_study", "nuwa_jobs", ["study"], unique=False)
    is_active = sa.text("state IN ('queued', 'running')")
    op.create_index(
        "uq_nuwa_jobs_active_study",
        "nuwa_jobs",
        ["study"],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )
    op.create_table(
        "nuwa_workers",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_workers"),
        sa.UniqueConstraint("worker_id", name="uq_nuwa_workers_worker_id"),
    )
    with op.batch_alter_table("nuwa_events") as events:  # SQLite changes a column by writing the table anew
        events.alter_column("search_pk", existing_type=BIG, nullable=True)
        events.add_column(sa.Column("job_pk", BIG, nullable=True))
        events.create_foreign_key("fk_nuwa_events_job_pk", "nuwa_jobs", ["job_pk"], ["pk"], ondelete="RESTRICT")
    op.create_index("ix_nuwa_events_job_pk_pk", "nuwa_events", ["job_pk", "pk"], unique=False)


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
