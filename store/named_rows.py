"""Rows about subnets as people read them: keys of devices, tasks, bases, searches and predictors become names.

A front has tens of thousands of rows and a handful of each of these: they are read once, not joined to every row.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, select
from sqlalchemy.orm import InstrumentedAttribute

from nuwa_search.core.pipeline import PIPELINE_VERSION
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.store.found_rows import SubnetFound
from nuwa_search.store.rows import chunks
from nuwa_search.store.tables import BaseNetRow, DeviceRow, PredictorRow, SearchRow, TaskRow

_NAMED: dict[str, tuple[InstrumentedAttribute[Any], ...]] = {
    "device_pk": (DeviceRow.pk, DeviceRow.name, DeviceRow.device_id),
    "task_pk": (TaskRow.pk, TaskRow.classes, TaskRow.task_id, TaskRow.pipeline),
    "base_pk": (BaseNetRow.pk, BaseNetRow.name, BaseNetRow.base_id),
    "search_pk": (SearchRow.pk, SearchRow.study),
    "predictor_pk": (PredictorRow.pk, PredictorRow.predictor_id),
}
_NOBODY = {"device_pk": (None, None), "search_pk": (None,), "predictor_pk": (None,)}


def named_rows(connection: Connection, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[SubnetFound]:
    """Look up the keys of rows and put each row together.

    Args:
        connection: A transaction.
        names: Of the columns.
        rows: Their values.
    """
    known = {name: _read(connection, columns, _keys(names, rows, name)) for name, columns in _NAMED.items()}
    for name, nobody in _NOBODY.items():
        known[name][None] = nobody
    return [_put_together(dict(zip(names, row, strict=True)), known) for row in rows]


def _keys(names: Sequence[str], rows: Sequence[Sequence[Any]], name: str) -> set[int]:
    place = names.index(name)
    return {row[place] for row in rows} - {None}


def _read(
    connection: Connection, columns: Sequence[InstrumentedAttribute[Any]], keys: Iterable[int]
) -> dict[int | None, tuple[Any, ...]]:
    found: dict[int | None, tuple[Any, ...]] = {}
    for chunk in chunks(sorted(keys)):
        for pk, *values in connection.execute(select(*columns).where(columns[0].in_(chunk))):
            found[pk] = tuple(values)
    return found


def _put_together(row: dict[str, Any], known: dict[str, dict[int | None, tuple[Any, ...]]]) -> SubnetFound:
    device, device_id = known["device_pk"][row["device_pk"]]
    classes, task_id, pipeline = known["task_pk"][row["task_pk"]]
    base, base_id = known["base_pk"][row["base_pk"]]
    low, top1, num_images, bundle = row["predicted_low_ms"], row["top1"], row["num_images"], row["bundle_dir"]
    img_size, interval = _img_size(str(row["img_size"])), _interval(top1, num_images)
    found = {
        "arch_id": row["arch_id"],
        "subnet_id": row["subnet_id"],
        "device": device,
        "device_id": device_id,
        "predicted_latency_ms": row["predicted_latency_ms"],
        "measured_latency_ms": row["measured_latency_ms"],
        "provenance": row["provenance"],
        "top1": top1,
        "miou": row["miou"],
        "split": row["split"],
        "score_kind": row["score_kind"],
        "num_images": num_images,
        "classes": list(classes),
        "task_id": task_id,
        "base": base,
        "base_id": base_id,
        "macs": row["macs"],
        "params": row["params"],
        "img_size": list(img_size) if isinstance(img_size, list) else img_size,
        "study": known["search_pk"][row["search_pk"]][0],
        "trial_number": row["trial_number"],
        "bundle_dir": bundle,
        "measurement_id": row["measurement_id"],
        "predictor_id": known["predictor_pk"][row["predictor_pk"]][0],
        "pipeline": pipeline,
        "predicted_interval_ms": None if low is None else [low, row["predicted_high_ms"]],
        "top1_interval": None if interval is None else list(interval),
        "is_current": pipeline == PIPELINE_VERSION,
        "bundle_is_missing": bundle is not None and not Path(bundle).is_dir(),
    }
    return cast("SubnetFound", found)


@lru_cache(256)
def _img_size(text: str) -> int | list[int]:
    return cast("int | list[int]", json.loads(text))


@lru_cache(4096)  # accuracies are of a few hundred images: shares repeat
def _interval(top1: float | None, num_images: int | None) -> tuple[float, ...] | None:
    found = interval_of_share(top1, num_images)
    return None if found is None else tuple(found)
