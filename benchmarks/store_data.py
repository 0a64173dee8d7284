"""Fill a search database with as many rows as wanted, fast: what `benchmarks/store.py` times queries on.

Accuracy rises with latency and scatters, as cuts of one base do. Everything follows from row numbers,
so the same sizes give the same database on SQLite and PostgreSQL.
"""

from sqlalchemy import text

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec
from nuwa_search.store.fronts import mark_all_stale, mend_fronts
from nuwa_search.store.records import BaseRecord, PredictorRecord, TaskRecord
from nuwa_search.store.store import Store

NUM_TASKS = 20
_LATENCY_INDEXES = {
    "ix_nuwa_latencies_latency": "device_pk, task_pk, latency_ms, base_pk, subnet_pk",
    "ix_nuwa_latencies_measured": "device_pk, task_pk, latency_ms, base_pk, subnet_pk",
}


def bench_devices(num_devices: int) -> list[DeviceSpec]:
    """Name the devices ``dev-0``, ``dev-1`` and so on."""
    return [
        DeviceSpec(f"dev-{i}", "emulated", "tensorrt", "8.2.1", "fp16", power_mode="MAXN") for i in range(num_devices)
    ]


def bench_classes(task: int) -> tuple[str, ...]:
    """Name the five classes of a task."""
    return tuple(f"class-{task}-{i}" for i in range(5))


def _uniform(row: str, salt: int) -> str:
    """Write SQL for a number in [0, 1) that follows from ``row``: two squarings modulo 2^31 - 1 (a prime)."""
    mixed = f"(({row}) * 48271 + {salt * 7919}) % 2147483647"
    for extra in (12345 + 977 * salt, 54321 + 31 * salt):
        mixed = f"(({mixed}) * ({mixed}) + {extra}) % 2147483647"
    return f"(({mixed}) / 2147483647.0)"


def fill_store(store: Store, *, num_subnets: int, num_devices: int) -> None:
    """Add subnets with one score each and one latency row per device; the store must be fresh."""
    block = BlockSpec(3, 32, 32, 768)
    base = Arch(blocks=(block,) * 12, embed_dim=192, num_classes=5, img_size=32, patch_size=4)
    devices = bench_devices(num_devices)
    for device in devices:
        store.record_device(device)
        store.save_predictor(PredictorRecord(f"predictor-{device.name}", device.device_id, None, {}, {}))
    store.record_base(BaseRecord("base-0", "bench-base", base))
    for task in range(NUM_TASKS):
        store.record_task(TaskRecord(f"task-{task}", "bench", "hash", bench_classes(task), {}, True))
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
        if store.is_sqlite
        else "WITH n AS (SELECT generate_series(1, CAST(:count AS bigint)) AS i) "
    )
    now = "2026-01-01 00:00:00.000000"
    first = "(SELECT min(pk) FROM {})"
    size = _uniform("i", 1)
    # Accuracy on 500 images is a multiple of 0.002.
    accuracy = f"round(500 * (0.2 + 0.7 * {size} * (2 - {size}) * (0.6 + 0.4 * {_uniform('i', 2)}))) / 500.0"
    with store.write() as connection:
        if not store.is_sqlite and connection.execute(text("SHOW is_superuser")).scalar() == "on":
            # Fifty million look-ups of foreign keys that are right by construction would take most of the time.
            connection.execute(text("SET LOCAL session_replication_role = replica"))  # which stops all triggers
        start = connection.execute(text("SELECT max(pk) FROM nuwa_archs")).scalar_one() + 1
        content = (
            '{"img_size":32,"blocks":['
            + ",".join(['{"num_heads":3,"qk_dim":32,"v_dim":32,"mlp_width":768}'] * 12)
            + "]}"
        )
        connection.execute(
            text(
                "INSERT INTO nuwa_archs (pk, arch_id, content, macs, params) "
                f"{numbers} SELECT i + {start} - 1, 'arch-' || i, CAST(:content AS {_json(store)}), 1000 * i, 100 * i "
                "FROM n"
            ),
            {"count": num_subnets, "content": content},
        )
        connection.execute(
            text(
                "INSERT INTO nuwa_subnets (pk, subnet_id, arch_pk, base_pk, task_pk, kept_blocks, derivation, top1, "
                f"score_pk, created_at) {numbers} SELECT i, 'subnet-' || i, i + {start} - 1, "
                f"{first.format('nuwa_bases')}, "
                f"{first.format('nuwa_tasks')} + i % {NUM_TASKS}, '111111111111', CAST('{{}}' AS {_json(store)}), "
                f"{accuracy}, i, CAST(:now AS {_moment(store)}) FROM n"
            ),
            {"count": num_subnets, "now": now},
        )
        connection.execute(
            text(
                "INSERT INTO nuwa_scores (pk, subnet_pk, kind, split, num_images, seed, value, created_at) "
                "SELECT pk, pk, 'top1', 'test', 500, 0, top1, created_at FROM nuwa_subnets"
            )
        )
        for name in _LATENCY_INDEXES:
            connection.execute(text(f"DROP INDEX {name}"))
        latency = f"(d.pk * (1 + 20 * {_uniform('s.pk', 1)} * (0.8 + 0.4 * {_uniform('s.pk * 31 + d.pk', 3)})))"
        connection.execute(
            text(
                "INSERT INTO nuwa_latencies (subnet_pk, device_pk, task_pk, base_pk, latency_ms, "
                "predicted_latency_ms, predicted_low_ms, predicted_high_ms, predicted_provenance, predictor_pk, "
                "measured_latency_ms, provenance, updated_at) "
                f"SELECT s.pk, d.pk, s.task_pk, s.base_pk, {latency}, {latency}, 0.95 * {latency}, "
                f"1.05 * {latency}, 'emulated', p.pk, CASE WHEN s.pk % 100 = 0 THEN {latency} END, 'emulated', "
                "s.created_at FROM nuwa_subnets s CROSS JOIN nuwa_devices d "
                "JOIN nuwa_predictors p ON p.device_pk = d.pk"
            )
        )
        for name, columns in _LATENCY_INDEXES.items():
            where = "WHERE measured_latency_ms IS NOT NULL" if name.endswith("measured") else ""
            connection.execute(text(f"CREATE INDEX {name} ON nuwa_latencies ({columns}) {where}"))
        if not store.is_sqlite:
            mark_all_stale(connection)
    mend_fronts(store)
    if not store.is_sqlite:
        with store.write() as connection:
            for table in ("nuwa_archs", "nuwa_subnets", "nuwa_scores"):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table}', 'pk'), (SELECT max(pk) FROM {table}))")
                )
        # What autovacuum does in a server that is left alone for some minutes.
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE)"))


def _json(store: Store) -> str:
    return "TEXT" if store.is_sqlite else "json"


def _moment(store: Store) -> str:
    return "TEXT" if store.is_sqlite else "timestamptz"
