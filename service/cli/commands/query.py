"""``nuwa query``: ask the search database."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from nuwa.store.lists import query_certificates, query_devices, query_latencies, query_studies
from nuwa.store.query import find_subnets
from nuwa.store.sql import run_sql
from nuwa.store.store import Store
from nuwa.store.wanted import SubnetFilter
from nuwa.task import parse_classes
from service.cli.command import NuwaCommand
from service.cli.database import database
from service.cli.flags import with_flags
from service.cli.output import Output, output_from_flags
from service.workflow.devices import find_device

TOPICS = ("subnets", "latencies", "studies", "devices", "certificates")
SHOWN = (
    *("subnet_id", "device", "measured_latency_ms", "predicted_latency_ms", "provenance", "top1", "score_kind"),
    *("split", "study", "bundle_dir"),
)


@click.command("query", cls=NuwaCommand)
@click.argument("topic", type=click.Choice(TOPICS), default="subnets")
@with_flags(
    *("device", "max-ms", "min-top1", "classes", "base", "measured-only", "pareto", "sort", "limit", "sql"),
    defaults={"device": None, "base": None},
)
def command(topic: str, **values: Any) -> None:
    """Ask the search database; without a topic, for subnets."""
    output = output_from_flags(values, use_path=False)
    with database(values, must_exist=True) as store:
        _require_known(store, values)
        rows = _rows(topic, store, values)
    _answer(rows, topic, output, values)


def _require_known(store: Store, values: Mapping[str, Any]) -> None:
    """Refuse a device that nothing is known of: an empty answer would read as `no subnet`."""
    name = values["device"]
    if name is None:
        return
    recorded = {word for record in store.devices() for word in (record.spec.name, record.spec.device_id)}
    if name not in recorded:
        find_device(name, store)


def _rows(topic: str, store: Store, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    device, limit = values["device"], values["limit"]
    if values["sql"]:
        result = run_sql(store, values["sql"])
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    if topic == "latencies":
        return query_latencies(store, device=device, limit=limit)
    if topic == "studies":
        return query_studies(store, device=device, limit=limit)
    if topic == "devices":
        return query_devices(store, limit=limit)
    if topic == "certificates":
        return query_certificates(store, device=device, limit=limit)
    wanted = SubnetFilter(
        device=device,
        max_ms=values["max_ms"],
        min_top1=values["min_top1"],
        classes=parse_classes(values["classes"]) if values["classes"] is not None else None,
        base=values["base"],
        measured_only=values["measured_only"],
    )
    return find_subnets(store, wanted, pareto=values["pareto"], sort=values["sort"] or "top1", limit=limit)


def _answer(rows: Sequence[Mapping[str, Any]], topic: str, output: Output, values: Mapping[str, Any]) -> None:
    path = Path(values["output"]) if values["output"] else None
    if path is not None and path.suffix == ".parquet":
        import pandas as pd  # only for Parquet files: it takes longer to load than a query to run

        pd.DataFrame([dict(row) for row in rows]).to_parquet(path)
        output.note(f"{len(rows)} rows written to {path}")
        return
    target = output_from_flags(values)
    if output.json:
        target.document({"schema": "nuwa.query/1", "rows": [dict(row) for row in rows], "count": len(rows)})
    elif not rows:
        filters = ("device", "max_ms", "min_top1", "classes", "base", "measured_only", "sql")
        asked = any(values[name] for name in filters)
        output.note("nothing matches" if asked else "the database is empty; `nuwa-search --budget-ms 30` fills it")
    else:
        shown = SHOWN if topic == "subnets" and not values["sql"] and target.is_terminal else None
        target.table(rows, columns=shown)
