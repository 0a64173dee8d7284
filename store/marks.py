"""What stands beside subnets: the tasks that are known, and the bases they were cut from."""

from collections.abc import Iterator

from sqlalchemy import func, or_, select, true

from nuwa_search.core.proportion import interval_of_share
from nuwa_search.store.bases import pk_of_base
from nuwa_search.store.database import Database
from nuwa_search.store.records import JsonDict
from nuwa_search.store.tables import BaseNetRow, DeviceRow, LatencyRow, SearchRow, TaskRow

COUNTED = 1000
"""Subnets are counted up to here per device and task: the page's first view waits for the counts of all of them."""


def count_subnets(database: Database) -> dict[tuple[str, str], int]:
    """Count subnets with a latency by ``device_id`` and ``task_id``, each up to ``COUNTED``; empty pairs are out."""
    some = (
        select(LatencyRow.subnet_pk)
        .where(LatencyRow.device_pk == DeviceRow.pk, LatencyRow.task_pk == TaskRow.pk)
        .correlate(DeviceRow, TaskRow)
        .limit(COUNTED)
        .subquery()
    )
    counted = select(func.count()).select_from(some).scalar_subquery()
    query = select(DeviceRow.device_id, TaskRow.task_id, counted).join(TaskRow, true())
    with database.read() as connection:
        return {(device, task): count for device, task, count in connection.execute(query) if count}


def find_tasks(database: Database, *, device: str | None = None) -> list[JsonDict]:
    """List the tasks that subnets are known for, newest first.

    Args:
        database: The store.
        device: Only tasks with subnets that have a latency on the device of this name or id.

    Returns:
        ``task_id``, ``data``, ``classes`` and ``num_subnets`` (with a latency; on each device counted up to
        ``COUNTED``).
    """
    query = select(TaskRow.task_id, TaskRow.data, TaskRow.classes).order_by(TaskRow.pk.desc())
    named = select(DeviceRow.device_id)
    if device is not None:
        named = named.where(or_(DeviceRow.name == device, DeviceRow.device_id == device))
    with database.read() as connection:
        devices = set(connection.execute(named).scalars())
        tasks = [dict(row) for row in connection.execute(query).mappings()]
    totals: dict[str, int] = {}
    for (device_id, task_id), count in count_subnets(database).items():
        if device_id in devices:
            totals[task_id] = totals.get(task_id, 0) + count
    return [task | {"num_subnets": totals[task["task_id"]]} for task in tasks if task["task_id"] in totals]


def find_base_marks(
    database: Database, *, device: str | None = None, base: str | None = None, task_id: str | None = None
) -> list[JsonDict]:
    """List what subnets are held against, as searches found it: bases, and small ViTs that beat every cut.

    One row per base, device and task, by the newest search that was done (``kind`` is ``base``), and one by the
    newest that shipped a uniformly small ViT in place of a subnet (``small_model``). A base's accuracy is
    ``top1_restricted``, a small model's ``top1``, both on the ``num_images`` of the test split, with their 95 %
    intervals.

    Args:
        database: The store.
        device: Name or id of a device.
        base: Id of a base, or a name: of several that were called so, the one stored last.
        task_id: Only for this task.
    """
    query = (
        select(
            *(BaseNetRow.name.label("base"), BaseNetRow.base_id, DeviceRow.name.label("device"), DeviceRow.device_id),
            *(TaskRow.task_id, TaskRow.classes, SearchRow.study, SearchRow.result),
        )
        .join(BaseNetRow, BaseNetRow.pk == SearchRow.base_pk)
        .join(TaskRow, TaskRow.pk == SearchRow.task_pk)
        .join(DeviceRow, DeviceRow.pk == SearchRow.device_pk)
        .where(SearchRow.state == "done")
        .order_by(SearchRow.finished_at.desc())
    )
    if device is not None:
        query = query.where(or_(DeviceRow.name == device, DeviceRow.device_id == device))
    if task_id is not None:
        query = query.where(TaskRow.task_id == task_id)
    marks: dict[tuple[str, ...], JsonDict] = {}
    with database.read() as connection:
        if base is not None:
            query = query.where(BaseNetRow.pk == pk_of_base(connection, base))
        for row in connection.execute(query):
            where = {"device": row.device, "device_id": row.device_id, "task_id": row.task_id, "classes": row.classes}
            for mark in _marks_of(row.result or {}):
                key = (mark["kind"], row.base_id, row.device_id, row.task_id)
                about = {"base": row.base, "base_id": row.base_id, **where, **mark, "study": row.study}
                marks.setdefault(key, about)
    return list(marks.values())


def _marks_of(result: JsonDict) -> Iterator[JsonDict]:
    """Read the base out of a `nuwa.search/1` answer, and the small model where one was shipped."""
    shared = ("provenance", "board_interval_ms", "params", "macs")
    num_images = (result.get("task") or {}).get("num_test")
    if "base" in result:
        names = ("latency_ms", "top1_restricted", "top1_all_classes", *shared)
        mark = {name: result["base"].get(name) for name in names}
        yield {
            "kind": "base",
            "split": "test",
            **mark,
            "top1_restricted_interval": interval_of_share(mark["top1_restricted"], num_images),
            "num_images": num_images,
        }
    if result.get("shipped") == "small-model":
        small = result["subnet"]
        names = ("subnet_id", "top1", "split", *shared)
        yield {
            "kind": "small_model",
            "latency_ms": small["measured_latency_ms"],
            **{name: small.get(name) for name in names},
            "top1_interval": interval_of_share(small.get("top1"), num_images),
            "num_images": num_images,
        }
