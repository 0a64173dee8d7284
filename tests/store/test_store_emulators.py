"""Figures of another emulator stay readable, under a name of their own, and are never found beside new ones."""

import dataclasses
from pathlib import Path

import pytest

from nuwa_search.core.emulator import device_label
from nuwa_search.store.lists import query_devices
from nuwa_search.store.store import open_store
from tests.support.store_values import BOARD, NANO, prediction, record_basics, subnet

FIRST = dataclasses.replace(NANO, options=())


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_upgrading_names_the_first_emulators_devices_as_such(version: int, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "old.sqlite"
    path.write_bytes((root / "tests" / "data" / f"store_v{version}.sqlite").read_bytes())
    with open_store(str(path)) as upgraded:
        rows = {row["device"]: row for row in query_devices(upgraded)}
        assert set(rows) == {"jetson-nano@emulator-1", "lab-nano"}
        assert rows["jetson-nano@emulator-1"]["num_lut_rows"] > 0
        specs = {record.spec.device_id: record.spec for record in upgraded.devices()}
        kept = specs[rows["jetson-nano@emulator-1"]["device_id"]]  # the id that its rows were stored under
        assert (kept, device_label(kept)) == (FIRST, "jetson-nano@emulator-1")
        assert upgraded.older_emulators("jetson-nano") == ("jetson-nano@emulator-1",)
        assert upgraded.older_emulators("lab-nano") == ()
        assert upgraded.predictors(NANO.device_id) == ()


def test_a_name_finds_the_figures_of_one_emulator_only(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "a.sqlite")) as store:
        record_basics(store)
        store.record_device(FIRST)
        store.record_subnets([subnet(0), subnet(1)])
        store.record_predicted_latencies([prediction(0, 10.0, device=FIRST), prediction(1, 20.0)])
        names = ("jetson-nano", device_label(FIRST))
        found = {name: [row["latency_ms"] for row in store.latencies.find(device=name)] for name in names}
        assert found == {"jetson-nano": [20.0], "jetson-nano@emulator-1": [10.0]}
        assert [device_label(record.spec) for record in store.devices() if record.spec.kind == "emulated"] == [
            "jetson-nano",
            "jetson-nano@emulator-1",
        ]
        assert device_label(BOARD) == "lab-nano"
