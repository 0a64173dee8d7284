"""Create the tables and views of the first version.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0001"
down_revision = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)

VIEWS = {
    "v_devices": """
        SELECT d.name AS device, d.device_id, d.kind, d.runtime, d.runtime_version, d."precision", d.batch,
               d.power_mode, d.is_listed,
               (SELECT count(*) FROM nuwa_lut_entries e JOIN nuwa_luts t ON t.pk = e.lut_pk
                WHERE t.device_pk = d.pk) AS num_lut_rows,
               (SELECT count(*) FROM nuwa_measurements m WHERE m.device_pk = d.pk) AS num_measurements,
               (SELECT p.predictor_id FROM nuwa_predictors p WHERE p.device_pk = d.pk
                ORDER BY p.pk DESC LIMIT 1) AS predictor_id,
               d.created_at
        FROM nuwa_devices d
    """,
    "v_subnets": """
        SELECT s.subnet_id, a.arch_id, d.name AS device, d.device_id, l.latency_ms,
               l.predicted_latency_ms, l.predicted_low_ms, l.predicted_high_ms, l.measured_latency_ms, l.provenance,
               s.top1, c.split, c.num_images, c.kind AS score_kind,
               t.classes, t.task_id, t.data, b.name AS base, b.base_id, a.macs, a.params,
               r.study, s.trial_number, s.kept_blocks, s.bundle_dir, m.measurement_id, p.predictor_id, s.created_at
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
    "v_latencies": """
        SELECT d.name AS device, d.device_id, a.arch_id, s.subnet_id, m.onnx_hash, 'measured' AS figure,
               m.latency_ms, NULL AS low_ms, NULL AS high_ms, m.provenance, m.samples,
               m.measurement_id AS source_id, q.protocol_id, m.created_at
        FROM nuwa_measurements m
        JOIN nuwa_devices d ON d.pk = m.device_pk
        JOIN nuwa_protocols q ON q.pk = m.protocol_pk
        LEFT JOIN nuwa_archs a ON a.pk = m.arch_pk
        LEFT JOIN nuwa_subnets s ON s.pk = m.subnet_pk
        UNION ALL
        SELECT d.name, d.device_id, a.arch_id, s.subnet_id, NULL, 'predicted',
               l.predicted_latency_ms, l.predicted_low_ms, l.predicted_high_ms, l.predicted_provenance, NULL,
               p.predictor_id, NULL, l.updated_at
        FROM nuwa_latencies l
        JOIN nuwa_devices d ON d.pk = l.device_pk
        JOIN nuwa_subnets s ON s.pk = l.subnet_pk
        JOIN nuwa_archs a ON a.pk = s.arch_pk
        LEFT JOIN nuwa_predictors p ON p.pk = l.predictor_pk
        WHERE l.predicted_latency_ms IS NOT NULL
    """,
    "v_lut_entries": """
        SELECT d.name AS device, d.device_id, t.lut_id, q.protocol_id, e."key", e.latency_ms, e.provenance, e.stats,
               e.created_at
        FROM nuwa_lut_entries e
        JOIN nuwa_luts t ON t.pk = e.lut_pk
        JOIN nuwa_devices d ON d.pk = t.device_pk
        JOIN nuwa_protocols q ON q.pk = t.protocol_pk
    """,
    "v_scores": """
        SELECT s.subnet_id, c.kind, c.split, c.num_images, c.seed, c.value, c.created_at
        FROM nuwa_scores c
        JOIN nuwa_subnets s ON s.pk = c.subnet_pk
    """,
    "v_studies": """
        SELECT r.study, r.state, d.name AS device, d.device_id, r.budget_ms, r.seed, b.name AS base, t.classes,
               t.task_id, p.predictor_id, r.settings, r.result, r.created_at, r.finished_at, r.heartbeat_at
        FROM nuwa_searches r
        JOIN nuwa_devices d ON d.pk = r.device_pk
        LEFT JOIN nuwa_bases b ON b.pk = r.base_pk
        LEFT JOIN nuwa_tasks t ON t.pk = r.task_pk
        LEFT JOIN nuwa_predictors p ON p.pk = r.predictor_pk
    """,
    "v_certificates": """
        SELECT c.certificate_id, c.verdict, c.budget_ms, m.latency_ms AS measured_latency_ms, m.provenance,
               d.name AS device, d.device_id, s.subnet_id, a.arch_id, m.measurement_id, c.path, c.content,
               c.created_at
        FROM nuwa_certificates c
        JOIN nuwa_devices d ON d.pk = c.device_pk
        JOIN nuwa_subnets s ON s.pk = c.subnet_pk
        JOIN nuwa_archs a ON a.pk = s.arch_pk
        LEFT JOIN nuwa_measurements m ON m.pk = c.measurement_pk
    """,
}


def upgrade() -> None:
    op.create_table(
        "nuwa_archs",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("macs", BIG, nullable=False),
        sa.Column("params", BIG, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_archs"),
        sa.UniqueConstraint("arch_id", name="uq_nuwa_archs_arch_id"),
    )
    op.create_table(
        "nuwa_devices",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("runtime", sa.String(), nullable=False),
        sa.Column("runtime_version", sa.String(), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("power_mode", sa.String(), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("is_listed", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_devices"),
        sa.UniqueConstraint("device_id", name="uq_nuwa_devices_device_id"),
    )
    op.create_index("ix_nuwa_devices_name", "nuwa_devices", ["name"], unique=False)
    op.create_table(
        "nuwa_protocols",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("protocol_id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_protocols"),
        sa.UniqueConstraint("protocol_id", name="uq_nuwa_protocols_protocol_id"),
    )
    op.create_table(
        "nuwa_tasks",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("data", sa.String(), nullable=False),
        sa.Column("data_hash", sa.String(length=64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("classes_hash", sa.String(length=16), nullable=False),
        sa.Column("splits", sa.JSON(), nullable=False),
        sa.Column("search_split_seen_by_base", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_tasks"),
        sa.UniqueConstraint("task_id", name="uq_nuwa_tasks_task_id"),
    )
    op.create_index("ix_nuwa_tasks_classes_hash", "nuwa_tasks", ["classes_hash"], unique=False)
    op.create_table(
        "nuwa_bases",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("base_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("arch_pk", BIG, nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["arch_pk"], ["nuwa_archs.pk"], name="fk_nuwa_bases_arch_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_bases"),
        sa.UniqueConstraint("base_id", name="uq_nuwa_bases_base_id"),
    )
    op.create_index("ix_nuwa_bases_name", "nuwa_bases", ["name"], unique=False)
    op.create_table(
        "nuwa_device_states",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_device_states_device_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_device_states"),
    )
    op.create_index("ix_nuwa_device_states_device_pk", "nuwa_device_states", ["device_pk"], unique=False)
    op.create_table(
        "nuwa_luts",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("lut_id", sa.String(length=64), nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("protocol_pk", BIG, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_luts_device_pk", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["protocol_pk"], ["nuwa_protocols.pk"], name="fk_nuwa_luts_protocol_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_luts"),
        sa.UniqueConstraint("device_pk", "protocol_pk", name="uq_nuwa_luts_device_pk_protocol_pk"),
        sa.UniqueConstraint("lut_id", name="uq_nuwa_luts_lut_id"),
    )
    op.create_table(
        "nuwa_lut_entries",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("lut_pk", BIG, nullable=False),
        sa.Column("key_hash", sa.String(length=16), nullable=False),
        sa.Column("key", sa.JSON(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("stats", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["lut_pk"], ["nuwa_luts.pk"], name="fk_nuwa_lut_entries_lut_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_lut_entries"),
        sa.UniqueConstraint("lut_pk", "key_hash", name="uq_nuwa_lut_entries_lut_pk_key_hash"),
    )
    op.create_table(
        "nuwa_predictors",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("predictor_id", sa.String(length=64), nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("lut_pk", BIG, nullable=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_predictors_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["lut_pk"], ["nuwa_luts.pk"], name="fk_nuwa_predictors_lut_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_predictors"),
        sa.UniqueConstraint("predictor_id", name="uq_nuwa_predictors_predictor_id"),
    )
    op.create_index("ix_nuwa_predictors_device_pk", "nuwa_predictors", ["device_pk"], unique=False)
    op.create_table(
        "nuwa_searches",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("study", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("budget_ms", sa.Double(), nullable=False),
        sa.Column("seed", BIG, nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("base_pk", BIG, nullable=True),
        sa.Column("task_pk", BIG, nullable=True),
        sa.Column("predictor_pk", BIG, nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("owner_host", sa.String(), nullable=True),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.Column("owner_token", sa.String(length=32), nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["base_pk"], ["nuwa_bases.pk"], name="fk_nuwa_searches_base_pk", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_searches_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["predictor_pk"], ["nuwa_predictors.pk"], name="fk_nuwa_searches_predictor_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["task_pk"], ["nuwa_tasks.pk"], name="fk_nuwa_searches_task_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_searches"),
        sa.UniqueConstraint("study", name="uq_nuwa_searches_study"),
    )
    op.create_index("ix_nuwa_searches_device_pk", "nuwa_searches", ["device_pk"], unique=False)
    op.create_index("ix_nuwa_searches_state", "nuwa_searches", ["state"], unique=False)
    op.create_table(
        "nuwa_events",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("search_pk", BIG, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["search_pk"], ["nuwa_searches.pk"], name="fk_nuwa_events_search_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_events"),
    )
    op.create_index("ix_nuwa_events_search_pk_pk", "nuwa_events", ["search_pk", "pk"], unique=False)
    op.create_table(
        "nuwa_subnets",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("subnet_id", sa.String(length=64), nullable=False),
        sa.Column("arch_pk", BIG, nullable=False),
        sa.Column("base_pk", BIG, nullable=False),
        sa.Column("task_pk", BIG, nullable=False),
        sa.Column("kept_blocks", sa.String(), nullable=False),
        sa.Column("derivation", sa.JSON(), nullable=False),
        sa.Column("search_pk", BIG, nullable=True),
        sa.Column("trial_number", sa.Integer(), nullable=True),
        sa.Column("top1", sa.Double(), nullable=True),
        sa.Column("score_pk", BIG, nullable=True),
        sa.Column("bundle_dir", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["arch_pk"], ["nuwa_archs.pk"], name="fk_nuwa_subnets_arch_pk", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["base_pk"], ["nuwa_bases.pk"], name="fk_nuwa_subnets_base_pk", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["search_pk"], ["nuwa_searches.pk"], name="fk_nuwa_subnets_search_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["task_pk"], ["nuwa_tasks.pk"], name="fk_nuwa_subnets_task_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_subnets"),
        sa.UniqueConstraint("subnet_id", name="uq_nuwa_subnets_subnet_id"),
    )
    op.create_index("ix_nuwa_subnets_arch_pk", "nuwa_subnets", ["arch_pk"], unique=False)
    op.create_index("ix_nuwa_subnets_search_pk", "nuwa_subnets", ["search_pk"], unique=False)
    op.create_index("ix_nuwa_subnets_task_pk", "nuwa_subnets", ["task_pk"], unique=False)
    op.create_table(
        "nuwa_exports",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("subnet_pk", BIG, nullable=False),
        sa.Column("onnx_hash", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("opset", sa.Integer(), nullable=False),
        sa.Column("agreement", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_exports_subnet_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_exports"),
        sa.UniqueConstraint("subnet_pk", "onnx_hash", name="uq_nuwa_exports_subnet_pk_onnx_hash"),
    )
    op.create_index("ix_nuwa_exports_onnx_hash", "nuwa_exports", ["onnx_hash"], unique=False)
    op.create_table(
        "nuwa_finetunings",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("subnet_pk", BIG, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("weights_hash", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_finetunings_subnet_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_finetunings"),
    )
    op.create_index("ix_nuwa_finetunings_subnet_pk", "nuwa_finetunings", ["subnet_pk"], unique=False)
    op.create_table(
        "nuwa_measurements",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("measurement_id", sa.String(length=64), nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("protocol_pk", BIG, nullable=False),
        sa.Column("arch_pk", BIG, nullable=True),
        sa.Column("subnet_pk", BIG, nullable=True),
        sa.Column("onnx_hash", sa.String(length=64), nullable=True),
        sa.Column("provenance", sa.String(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["arch_pk"], ["nuwa_archs.pk"], name="fk_nuwa_measurements_arch_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_measurements_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["protocol_pk"], ["nuwa_protocols.pk"], name="fk_nuwa_measurements_protocol_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_measurements_subnet_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_measurements"),
        sa.UniqueConstraint("measurement_id", name="uq_nuwa_measurements_measurement_id"),
    )
    op.create_index("ix_nuwa_measurements_arch_pk", "nuwa_measurements", ["arch_pk"], unique=False)
    op.create_index("ix_nuwa_measurements_device_pk", "nuwa_measurements", ["device_pk"], unique=False)
    op.create_index("ix_nuwa_measurements_onnx_hash", "nuwa_measurements", ["onnx_hash"], unique=False)
    op.create_index("ix_nuwa_measurements_subnet_pk", "nuwa_measurements", ["subnet_pk"], unique=False)
    op.create_table(
        "nuwa_scores",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("subnet_pk", BIG, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("num_images", sa.Integer(), nullable=False),
        sa.Column("seed", BIG, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_scores_subnet_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_scores"),
        sa.UniqueConstraint(
            "subnet_pk",
            "kind",
            "split",
            "num_images",
            "seed",
            name="uq_nuwa_scores_subnet_pk_kind_split_num_images_seed",
        ),
    )
    op.create_table(
        "nuwa_certificates",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("certificate_id", sa.String(length=64), nullable=False),
        sa.Column("subnet_pk", BIG, nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("measurement_pk", BIG, nullable=True),
        sa.Column("budget_ms", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_certificates_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["measurement_pk"],
            ["nuwa_measurements.pk"],
            name="fk_nuwa_certificates_measurement_pk",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_certificates_subnet_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_certificates"),
        sa.UniqueConstraint("certificate_id", name="uq_nuwa_certificates_certificate_id"),
    )
    op.create_index("ix_nuwa_certificates_device_pk", "nuwa_certificates", ["device_pk"], unique=False)
    op.create_index("ix_nuwa_certificates_subnet_pk", "nuwa_certificates", ["subnet_pk"], unique=False)
    op.create_table(
        "nuwa_engines",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("export_pk", BIG, nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("engine_hash", sa.String(length=64), nullable=True),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_engines_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["export_pk"], ["nuwa_exports.pk"], name="fk_nuwa_engines_export_pk", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_engines"),
    )
    op.create_index("ix_nuwa_engines_device_pk", "nuwa_engines", ["device_pk"], unique=False)
    op.create_index("ix_nuwa_engines_export_pk", "nuwa_engines", ["export_pk"], unique=False)
    op.create_table(
        "nuwa_latencies",
        sa.Column("subnet_pk", BIG, nullable=False),
        sa.Column("device_pk", BIG, nullable=False),
        sa.Column("task_pk", BIG, nullable=False),
        sa.Column("base_pk", BIG, nullable=False),
        sa.Column("top1", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("predicted_latency_ms", sa.Double(), nullable=True),
        sa.Column("predicted_low_ms", sa.Double(), nullable=True),
        sa.Column("predicted_high_ms", sa.Double(), nullable=True),
        sa.Column("predicted_provenance", sa.String(), nullable=True),
        sa.Column("predictor_pk", BIG, nullable=True),
        sa.Column("measured_latency_ms", sa.Double(), nullable=True),
        sa.Column("measurement_pk", BIG, nullable=True),
        sa.Column("provenance", sa.String(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["base_pk"], ["nuwa_bases.pk"], name="fk_nuwa_latencies_base_pk", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["device_pk"], ["nuwa_devices.pk"], name="fk_nuwa_latencies_device_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["measurement_pk"], ["nuwa_measurements.pk"], name="fk_nuwa_latencies_measurement_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["predictor_pk"], ["nuwa_predictors.pk"], name="fk_nuwa_latencies_predictor_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["subnet_pk"], ["nuwa_subnets.pk"], name="fk_nuwa_latencies_subnet_pk", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["task_pk"], ["nuwa_tasks.pk"], name="fk_nuwa_latencies_task_pk", ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("subnet_pk", "device_pk", name="pk_nuwa_latencies"),
        sqlite_with_rowid=False,
    )

    by_top1: list[str | sa.TextClause] = [
        "device_pk",
        "task_pk",
        sa.text("top1 DESC"),
        "latency_ms",
        "base_pk",
        "subnet_pk",
    ]
    by_latency: list[str | sa.TextClause] = [
        "device_pk",
        "task_pk",
        "latency_ms",
        sa.text("top1 DESC"),
        "base_pk",
        "subnet_pk",
    ]
    measured = sa.text("measured_latency_ms IS NOT NULL")
    op.create_index("ix_nuwa_latencies_top1", "nuwa_latencies", by_top1)
    op.create_index("ix_nuwa_latencies_latency", "nuwa_latencies", by_latency)
    op.create_index(
        "ix_nuwa_latencies_measured",
        "nuwa_latencies",
        by_latency,
        sqlite_where=measured,
        postgresql_where=measured,
    )
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
