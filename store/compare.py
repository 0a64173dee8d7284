"""The same subnets on several devices, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from nuwa_search.store.budget import latency_of
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import SubnetFound
from nuwa_search.store.query import Subnets
from nuwa_search.store.records import JsonDict
from nuwa_search.store.wanted import SubnetFilter

_SHOWN = ("subnet_id", "arch_id", "task_id", "classes", "base", "top1", "top1_interval", "split", "num_images")


def compare_devices(
    database: Database,
    devices: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    base: str | None = None,
    limit: int | None = None,
) -> list[JsonDict]:
    """List the subnets on the fronts of some devices with their latency on each of these devices.

    Args:
        database: The store.
        devices: Names or ids of devices.
        classes: Exactly these classes; None for every task.
        base: Name or id of a base; None for all.
        limit: At most so many subnets; None for all.

    Returns:
        One row per subnet that is on the front of at least one of the devices, the most accurate
        first: ``subnet_id``, ``arch_id``, ``task_id``, ``classes``, ``base``, ``top1`` with
        ``top1_interval`` (95 %), ``split``, ``num_images``, and
        ``latencies``, which maps each device as it was named to ``latency_ms``, ``is_measured``,
        ``provenance`` and ``is_on_front``, or to None where the subnet has no latency there.
    """
    fronts: dict[str, set[str]] = {}
    chosen: dict[str, SubnetFound] = {}
    for device in devices:
        front = Subnets(database).find(SubnetFilter(device, classes=classes, base=base), pareto=True)
        fronts[device] = {row["subnet_id"] for row in front}
        chosen |= {row["subnet_id"]: row for row in front}
    best_first = sorted(chosen.values(), key=lambda row: (-(row["top1"] or 0.0), row["subnet_id"]))[:limit]
    ids = [row["subnet_id"] for row in best_first]
    by_device = {
        device: {row["subnet_id"]: row for row in Subnets(database).find(SubnetFilter(device, subnet_ids=ids))}
        for device in devices
    }
    return [
        {name: cast("Mapping[str, Any]", row)[name] for name in _SHOWN}
        | {"latencies": {device: _cell(row["subnet_id"], by_device[device], fronts[device]) for device in devices}}
        for row in best_first
    ]


def _cell(subnet_id: str, by_device: Mapping[str, SubnetFound], front: set[str]) -> JsonDict | None:
    row = by_device.get(subnet_id)
    if row is None:
        return None
    return {
        "latency_ms": latency_of(row),
        "is_measured": row["measured_latency_ms"] is not None,
        "provenance": row["provenance"],
        "is_on_front": subnet_id in front,
    }
