"""Keep which accuracy a collaboration is judged by: mIoU where pixels have classes.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0009"
down_revision = "0008"

VIEWS = {
    "v_collaborations": """
        SELECT c.study, c.shipped, c.devices, c.budget_ms, c.mode, c.predicted_p50_ms, c.predicted_p95_ms,
               c.predicted_mean_ms, CASE WHEN c.metric <> 'miou' THEN c.accuracy END AS top1, c.num_images,
               CASE WHEN c.metric <> 'miou' THEN c.rival_accuracy END AS rival_top1, c.rival_latency_ms, c.provenance,
               b.name AS base, b.base_id, t.classes, t.task_id, c.path, c.content, c.created_at, c.metric,
               CASE WHEN c.metric = 'miou' THEN c.accuracy END AS miou,
               CASE WHEN c.metric = 'miou' THEN c.rival_accuracy END AS rival_miou
        FROM nuwa_collaborations c
        JOIN nuwa_bases b ON b.pk = c.base_pk
        JOIN nuwa_tasks t ON t.pk = c.task_pk
    """,
}


def upgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    op.add_column("nuwa_collaborations", sa.Column("metric", sa.String(), nullable=False, server_default="top1"))
    for old, new in (("top1", "accuracy"), ("rival_top1", "rival_accuracy")):
        op.execute(f"ALTER TABLE nuwa_collaborations RENAME COLUMN {old} TO {new}")
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
