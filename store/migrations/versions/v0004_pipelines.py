"""Say of each task which version of the preprocessing its images went through, and how it is opened again.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0004"
down_revision = "0003"

# The newest score of a kind on the search split: what `nuwa derive --subnet` gives again.
_ON_SEARCH = """
    (SELECT {column} FROM nuwa_scores k WHERE k.subnet_pk = s.pk AND k.kind = '{kind}' AND k.split = 'search'
     ORDER BY k.created_at DESC, k.pk DESC LIMIT 1)
"""
# New columns come last: PostgreSQL replaces a view, and keeps who may read it, only if the others stay where they were.
VIEWS = {
    "v_subnets": f"""
        SELECT s.subnet_id, a.arch_id, d.name AS device, d.device_id, l.latency_ms,
               l.predicted_latency_ms, l.predicted_low_ms, l.predicted_high_ms, l.measured_latency_ms, l.provenance,
               s.top1, c.split, c.num_images, c.kind AS score_kind,
               t.classes, t.task_id, t.data, b.name AS base, b.base_id, a.macs, a.params,
               r.study, s.trial_number, s.kept_blocks, s.bundle_dir, m.measurement_id, p.predictor_id, s.created_at,
               t.pipeline, {_ON_SEARCH.format(column="k.value", kind="top1_derived")} AS top1_search,
               {_ON_SEARCH.format(column="k.value", kind="kl_to_teacher")} AS kl_to_teacher,
               {_ON_SEARCH.format(column="k.num_images", kind="kl_to_teacher")} AS num_images_search
        FROM nuwa_subnets s
        JOIN nuwa_archs a ON a.pk = s.arch_pk
        JOIN nuwa_bases b ON b.pk = s.base_pk
        JOIN nuwa_tasks t ON t.pk = s.task_pk
        LEFT JOIN nuwa_scores c ON c.pk = s.score_pk
        LEFT JOIN nuwa_searches r ON r.pk = s.search_pk
        LEFT JOIN nuwa_latencies l ON l.subnet_pk = s.pk
        LEFT JOIN nuwa_devices d ON d.pk = l.device_pk
        LEFT JOIN nuwa_measurements m ON m.pk = l.measurement_pk
        LEFT JOIN nuwa_predictors p ON p.pk = l.predictor_pk
    """,
    "v_studies": """
        SELECT r.study, r.state, d.name AS device, d.device_id, r.budget_ms, r.seed, b.name AS base, t.classes,
               t.task_id, p.predictor_id, r.settings, r.result, r.created_at, r.finished_at, r.heartbeat_at,
               b.base_id, t.pipeline
        FROM nuwa_searches r
        JOIN nuwa_devices d ON d.pk = r.device_pk
        LEFT JOIN nuwa_bases b ON b.pk = r.base_pk
        LEFT JOIN nuwa_tasks t ON t.pk = r.task_pk
        LEFT JOIN nuwa_predictors p ON p.pk = r.predictor_pk
    """,
}


def upgrade() -> None:
    # Whatever is there was made by the first preprocessing.
    op.add_column("nuwa_tasks", sa.Column("pipeline", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("nuwa_tasks", sa.Column("source", sa.JSON(), nullable=True))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, query in VIEWS.items():
        if is_sqlite:
            op.execute(f"DROP VIEW {name}")
        op.execute(f"CREATE {'' if is_sqlite else 'OR REPLACE '}VIEW {name} AS {query}")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
