"""Add collaborations: decompositions of a base over several devices, with their answers.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
VIEWS = {
    "v_collaborations": """
        SELECT c.study, c.shipped, c.devices, c.budget_ms, c.mode, c.predicted_p50_ms, c.predicted_p95_ms,
               c.predicted_mean_ms, c.top1, c.num_images, c.rival_top1, c.rival_latency_ms, c.provenance,
               b.name AS base, b.base_id, t.classes, t.task_id, c.path, c.content, c.created_at
        FROM nuwa_collaborations c
        JOIN nuwa_bases b ON b.pk = c.base_pk
        JOIN nuwa_tasks t ON t.pk = c.task_pk
    """,
}


def upgrade() -> None:
    op.create_table(
        "nuwa_collaborations",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("base_pk", BIG, nullable=False),
        sa.Column("task_pk", BIG, nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("budget_ms", sa.Double(), nullable=False),
        sa.Column("shipped", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("predicted_p50_ms", sa.Double(), nullable=False),
        sa.Column("predicted_p95_ms", sa.Double(), nullable=False),
        sa.Column("predicted_mean_ms", sa.Double(), nullable=False),
        sa.Column("top1", sa.Double(), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("rival_top1", sa.Double(), nullable=False),
        sa.Column("rival_latency_ms", sa.Double(), nullable=False),
        sa.Column("provenance", sa.String(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["base_pk"], ["nuwa_bases.pk"], name="fk_nuwa_collaborations_base_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["task_pk"], ["nuwa_tasks.pk"], name="fk_nuwa_collaborations_task_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_collaborations"),
        sa.UniqueConstraint("study", name="uq_nuwa_collaborations_study"),
    )
    op.create_index("ix_nuwa_collaborations_base_pk", "nuwa_collaborations", ["base_pk"], unique=False)
    op.create_index("ix_nuwa_collaborations_task_pk", "nuwa_collaborations", ["task_pk"], unique=False)
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
