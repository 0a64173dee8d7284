"""Columns of the answers of a query; they are known without the database."""

from nuwa_search.search.bundle_list import COLUMNS as BUNDLE_COLUMNS
from nuwa_search.search.derive_command import COLUMN as DERIVE_COMMAND
from nuwa_search.store.subnet_columns import COLUMNS

# Columns on a terminal, the most important first: a narrow one loses the last.
SHOWN = {
    "latencies": (
        *("arch_id", "device", "latency_ms", "figure", "provenance", "low_ms", "high_ms", "samples", "subnet_id"),
        *("source_id", "created_at"),
    ),
    "studies": (
        *("study", "state", "device", "budget_ms", "seconds", "base", "created_at", "finished_at", "seed"),
        "predictor_id",
    ),
    "devices": (
        *("device", "kind", "runtime", "runtime_version", "precision", "power_mode", "num_lut_rows"),
        *("num_measurements", "predictor_id"),
    ),
    "certificates": (
        *("certificate_id", "verdict", "measured_latency_ms", "budget_ms", "provenance", "device", "subnet_id"),
        *("created_at", "path"),
    ),
    "bundles": (
        *("subnet_id", "bundle_dir", "verdict", "device", "measured_latency_ms", "is_finetuned", "top1", "size_mb"),
        *("base", "study"),
    ),
    "collaborations": (
        *("study", "shipped", "top1", "rival_top1", "miou", "rival_miou", "mode", "predicted_p50_ms"),
        *("predicted_mean_ms", "budget_ms"),
        *("rival_latency_ms", "devices", "provenance", "num_images", "base", "created_at", "path"),
    ),
}
# What an answer without rows is a table of, where it is known.
EMPTY = SHOWN | {"subnets": (*COLUMNS, DERIVE_COMMAND), "bundles": BUNDLE_COLUMNS}
