"""Devices as rows and documents."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.emulator import device_label
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.find import added_devices, find_device
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.service.api.problems import HttpError, not_found
from nuwa_search.store.lists import query_devices
from nuwa_search.store.marks import count_subnets
from nuwa_search.store.store import Store


def device_rows(store: Store) -> list[dict[str, Any]]:
    """List built-in, added and recorded devices by name, each with what is stored about it."""
    builtin, added = builtin_specs(), added_devices(store)
    specs: dict[str, DeviceSpec] = {spec.device_id: spec for spec in (builtin | added).values()}
    for record in store.devices():
        specs.setdefault(record.spec.device_id, record.spec)
    stored: dict[str, Mapping[str, Any]] = {row["device_id"]: row for row in query_devices(store)}
    subnets: dict[str, int] = {}
    for (device_id, _), count in count_subnets(store).items():
        subnets[device_id] = subnets.get(device_id, 0) + count
    rows = [
        {
            **_facts(spec),
            "is_listed": spec in added.values(),
            "is_builtin": spec in builtin.values(),
            "num_lut_rows": stored.get(spec.device_id, {}).get("num_lut_rows", 0),
            "num_measurements": stored.get(spec.device_id, {}).get("num_measurements", 0),
            "num_subnets": subnets.get(spec.device_id, 0),
            "predictor_id": stored.get(spec.device_id, {}).get("predictor_id"),
        }
        for spec in specs.values()
    ]
    return sorted(rows, key=lambda row: (row["name"], not row["is_builtin"] and not row["is_listed"], row["device_id"]))


def spec_of(name: str, store: Store) -> DeviceSpec:
    """Find a device by name, or a recorded one by id.

    Raises:
        HttpError: 404, if there is none.
    """
    recorded = [record.spec for record in store.devices()]
    for spec in recorded:
        if spec.device_id == name:
            return spec
    called = [spec for spec in recorded if device_label(spec) == name]
    if name == "cuda":  # looking for one would load torch
        if called:
            return called[-1]
        raise HttpError(404, "device 'cuda' was not used yet", hint="nuwa profile cuda")
    try:
        spec = find_device(name, store)
    except NuwaError as error:
        if called:
            return called[-1]
        raise not_found(error) from error
    # What an earlier version measured under this name says more than a device of which nothing is known.
    return called[-1] if called and spec not in called else spec


def _facts(spec: DeviceSpec) -> dict[str, Any]:
    names = ("name", "kind", "runtime", "runtime_version", "precision", "batch", "power_mode", "opset", "note")
    facts = {name: getattr(spec, name) for name in names}
    return facts | {"name": device_label(spec), "device_id": spec.device_id, "provenance": spec.provenance}


def device_document(spec: DeviceSpec) -> dict[str, Any]:
    """Render all fields of a spec but the board's address, which clients must not see."""
    facts = dataclasses.asdict(spec) | {"device_id": spec.device_id, "provenance": spec.provenance}
    return facts | {"options": {name: value for name, value in spec.options if name != "ssh"}}
