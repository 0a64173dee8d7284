"""What every search database does, whichever server holds it: a fixture ``store`` gives an empty one for each test."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from nuwa_search.core.device import MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.lists import query_devices
from nuwa_search.store.records import (
    CertificateRecord,
    EngineRecord,
    ExportRecord,
    FinetuneRecord,
    LutEntry,
    PredictorRecord,
)
from nuwa_search.store.store import Store
from nuwa_search.testing.store_values import (
    BASE,
    BOARD,
    NANO,
    PROTOCOL,
    TASK,
    cut,
    measured,
    prediction,
    record_basics,
    subnet,
    top1,
)


class DevicesContract:
    """Devices and their states."""

    def test_what_is_told_anew_of_a_device_replaces_what_was(self, store: Store) -> None:
        for note in ("on the bench", "on the bench", "on the line"):
            store.record_device(dataclasses.replace(BOARD, note=note))
        (found,) = store.devices()
        assert found.spec == dataclasses.replace(BOARD, note="on the line")

    def test_spec_comes_back_whole(self, store: Store) -> None:
        store.record_device(BOARD)
        store.record_device(BOARD)
        (found,) = store.devices()
        assert found.spec == BOARD
        assert not found.is_listed

    def test_added_device_takes_over_its_name_and_leaves_the_list(self, store: Store) -> None:
        store.list_device(BOARD)
        int8 = dataclasses.replace(BOARD, precision="fp32")
        store.list_device(int8)
        assert [record.spec for record in store.devices() if record.is_listed] == [int8]
        store.unlist_device(BOARD.name)
        assert not any(record.is_listed for record in store.devices())
        with pytest.raises(NuwaError, match="no added device"):
            store.unlist_device(BOARD.name)

    def test_newest_state_is_read(self, store: Store) -> None:
        store.record_device(BOARD)
        assert store.latest_device_state(BOARD.device_id) is None
        store.record_device_state(BOARD.device_id, {"temperature": "40"})
        store.record_device_state(BOARD.device_id, {"temperature": "50"})
        assert store.latest_device_state(BOARD.device_id) == {"temperature": "50"}

    def test_state_of_an_unknown_device_is_refused(self, store: Store) -> None:
        with pytest.raises(NuwaError, match="no device 'nothing'"):
            store.record_device_state("nothing", {})


class LatencyTablesContract:
    """Rows of latency tables."""

    ENTRIES = tuple(LutEntry({"kind": "block", "mlp_width": w}, 0.1 * w, "emulated", {"samples": w}) for w in range(5))

    def test_rows_come_back(self, store: Store) -> None:
        store.save_lut_rows(NANO, PROTOCOL, self.ENTRIES)
        assert set(map(repr, store.load_lut_rows(NANO.device_id, PROTOCOL.protocol_id))) == set(map(repr, self.ENTRIES))

    def test_saving_again_adds_nothing_and_replaces(self, store: Store) -> None:
        lut_id = store.save_lut_rows(NANO, PROTOCOL, self.ENTRIES[:3])
        turned = LutEntry({"mlp_width": 1, "kind": "block"}, 7.0, "emulated")
        assert store.save_lut_rows(NANO, PROTOCOL, [turned, *self.ENTRIES[2:]]) == lut_id
        rows = {
            entry.key["mlp_width"]: entry.latency_ms
            for entry in store.load_lut_rows(NANO.device_id, PROTOCOL.protocol_id)
        }
        assert rows == {0: 0.0, 1: 7.0, 2: 0.2, 3: pytest.approx(0.3), 4: 0.4}
        info = store.lut_info(NANO.device_id, PROTOCOL.protocol_id)
        assert info is not None
        assert (info.lut_id, info.num_rows) == (lut_id, 5)

    def test_tables_of_two_protocols_never_mix(self, store: Store) -> None:
        other = MeasureProtocol(transfers=True)
        store.save_lut_rows(NANO, PROTOCOL, self.ENTRIES[:1])
        assert store.load_lut_rows(NANO.device_id, other.protocol_id) == ()
        assert store.lut_info(NANO.device_id, other.protocol_id) is None
        store.save_lut_rows(NANO, other, self.ENTRIES[1:])
        assert sorted(info.num_rows for info in store.luts()) == [1, 4]


class MeasurementsContract:
    """Measurements and predicted latencies."""

    def test_measurement_comes_back_whole(self, store: Store) -> None:
        before = datetime.now(UTC)
        measurement_id = store.save_measurement(measured(3.0, device=BOARD), arch=cut(0), onnx_hash="abc")
        (found,) = store.measurements(BOARD.device_id)
        assert found.measurement == measured(3.0, device=BOARD)
        assert (found.measurement_id, found.onnx_hash, found.subnet_id) == (measurement_id, "abc", None)
        assert found.arch == cut(0).compact()
        assert before <= found.created_at <= datetime.now(UTC) + timedelta(seconds=1)
        assert found.created_at.tzinfo is not None

    def test_protocols_and_models_are_told_apart(self, store: Store) -> None:
        store.save_measurement(measured(3.0), onnx_hash="abc")
        store.save_measurement(measured(4.0), onnx_hash="def")
        assert len(store.measurements(NANO.device_id)) == 2
        assert len(store.measurements(NANO.device_id, onnx_hash="abc")) == 1
        assert store.measurements(NANO.device_id, protocol_id="other") == ()

    def test_measurement_of_nothing_is_refused(self, store: Store) -> None:
        with pytest.raises(NuwaError, match="say what it is of"):
            store.save_measurement(measured(3.0))
        with pytest.raises(NuwaError, match="no subnet 'nothing'"):
            store.save_measurement(measured(3.0), subnet_id="nothing")
        assert store.devices() == ()

    def test_latencies_tell_measured_from_predicted(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0)])
        store.record_predicted_latencies([prediction(0, 5.0)])
        measurement_id = store.save_measurement(measured(5.5), subnet_id="subnet-0")
        rows = store.latencies.find(device="jetson-nano")
        assert [(row["figure"], row["latency_ms"], row["provenance"]) for row in rows] == [
            ("measured", 5.5, "emulated"),
            ("predicted", 5.0, "emulated"),
        ]
        assert rows[0]["source_id"] == measurement_id
        assert rows[0]["protocol_id"] == PROTOCOL.protocol_id
        assert len(store.latencies.find(measured_only=True)) == 1
        assert len(store.latencies.find(limit=1)) == 1
        assert store.latencies.find(model="nothing") == []


class PredictorsContract:
    """Fitted predictors with their reports."""

    def test_predictor_keeps_its_first_content_and_gets_the_newer_report(self, store: Store) -> None:
        lut_id = store.save_lut_rows(NANO, PROTOCOL, [LutEntry({"a": 1}, 1.0, "emulated")])
        record = PredictorRecord("p", NANO.device_id, lut_id, {"slope": 1.5}, {"mape": 0.02})
        store.save_predictor(record)
        store.save_predictor(dataclasses.replace(record, content={"slope": 9.0}, report={"mape": 0.01}))
        found = store.load_predictor("p")
        assert dataclasses.replace(found, created_at=None) == dataclasses.replace(record, report={"mape": 0.01})
        assert store.predictors(NANO.device_id) == (found,)
        assert query_devices(store)[0]["predictor_id"] == "p"

    def test_unknown_predictor_is_named(self, store: Store) -> None:
        with pytest.raises(NuwaError, match="no latency predictor 'nothing'"):
            store.load_predictor("nothing")


class SubnetsContract:
    """Bases, tasks, archs, subnets and scores."""

    def test_base_task_arch_and_subnet_come_back(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0), subnet(1)])
        store.record_subnets([subnet(1)])
        base = store.load_base(BASE.base_id)
        assert list(base.info["called"]) == [BASE.name]
        assert dataclasses.replace(base, info=BASE.info) == BASE
        assert base.info.items() >= BASE.info.items()
        assert store.load_task(TASK.task_id) == TASK
        assert store.load_subnet("subnet-1").arch == cut(1)
        assert store.load_arch(cut(1).arch_id) == cut(1).compact()

    @pytest.mark.parametrize("load", ["load_base", "load_task", "load_subnet", "load_arch"])
    def test_unknown_ids_are_named(self, store: Store, load: str) -> None:
        with pytest.raises(NuwaError, match="'nothing'"):
            getattr(store, load)("nothing")

    def test_a_batch_with_one_unknown_base_stores_nothing(self, store: Store) -> None:
        record_basics(store)
        with pytest.raises(NuwaError, match="no base 'nothing'"):
            store.record_subnets([subnet(0), dataclasses.replace(subnet(1), base_id="nothing")])
        assert store.subnets.find() == []

    def test_best_founded_accuracy_stands_whatever_the_order(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0)])
        store.record_predicted_latencies([prediction(0, 5.0)])
        steps = [
            (top1(0, 0.99, split="train"), None, None),
            (top1(0, 0.70, kind="top1_derived", split="search"), 0.70, "search"),
            (top1(0, 0.80, split="search"), 0.80, "search"),
            (top1(0, 0.75), 0.75, "test"),
            (top1(0, 0.72, kind="top1_derived", split="search"), 0.75, "test"),
            (top1(0, 0.76), 0.76, "test"),
        ]
        for score, value, split in steps:
            store.record_scores([score])
            (row,) = store.subnets.find()
            assert (row["top1"], row["split"]) == (value, split)
            assert bool(store.subnets.find(limit=1)) is True
        assert len(store.scores("subnet-0")) == 4

    def test_miou_of_pixels_is_that_of_the_test_split_beside_no_top1(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0), subnet(1)])
        scores = (("miou", "test", 0.5), ("miou", "search", 0.9), ("miou_derived", "test", 0.4))
        store.record_scores([top1(0, value, kind=kind, split=split) for kind, split, value in scores])
        found = {row["subnet_id"]: row for row in store.subnets.find()}
        assert (found["subnet-0"]["miou"], found["subnet-0"]["top1"]) == (0.5, None)
        assert found["subnet-1"]["miou"] is None
        for name in found:
            store.set_bundle(name, f"/bundles/{name}")
        assert {row["subnet_id"]: row["miou"] for row in store.bundles.find()} == {"subnet-0": 0.5, "subnet-1": None}
        assert len(store.scores("subnet-0")) == len(scores)

    def test_score_of_an_unknown_subnet_is_refused(self, store: Store) -> None:
        with pytest.raises(NuwaError, match="no subnet 'subnet-0'"):
            store.record_scores([top1(0, 0.5)])

    def test_measured_latency_stays_when_predicted_again(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0)])
        store.save_measurement(measured(5.5), subnet_id="subnet-0")
        store.record_predicted_latencies([prediction(0, 5.0)])
        (row,) = store.subnets.find()
        assert (row["predicted_latency_ms"], row["measured_latency_ms"]) == (5.0, 5.5)
        assert row["predicted_interval_ms"] == [4.5, 5.5]
        store.save_measurement(measured(5.7), subnet_id="subnet-0")
        (row,) = store.subnets.find()
        assert row["measured_latency_ms"] == 5.7


class DeploymentsContract:
    """What was shipped of a subnet."""

    def test_the_way_of_a_winner_is_stored(self, store: Store) -> None:
        record_basics(store)
        store.record_subnets([subnet(0)])
        measurement_id = store.save_measurement(measured(4.0), subnet_id="subnet-0", onnx_hash="abc")
        store.record_finetune(FinetuneRecord("subnet-0", {"epochs": 3}, {"top1": 0.9}, "weights", 12.5))
        store.record_export(ExportRecord("subnet-0", "abc", "/b/model.onnx", 13, {"max_abs": 1e-6}))
        store.record_export(ExportRecord("subnet-0", "abc", "/c/model.onnx", 13, {"max_abs": 1e-6}))
        store.record_engine(EngineRecord("abc", NANO.device_id, "trtexec --onnx=model.onnx"))
        certificate = CertificateRecord(
            "subnet-0", NANO.device_id, 5.0, "met (emulated)", {"p50": 4.0}, measurement_id, "/c/certificate.json"
        )
        certificate_id = store.record_certificate(certificate)
        (row,) = store.certificates.find(device="jetson-nano", subnet_id="subnet-0")
        assert row["certificate_id"] == certificate_id
        assert (row["verdict"], row["measured_latency_ms"], row["content"]) == ("met (emulated)", 4.0, {"p50": 4.0})
        assert store.certificates.find(device="lab-nano") == []

    def test_bundle_that_is_gone_is_said(self, store: Store, tmp_path: object) -> None:
        record_basics(store)
        store.record_subnets([subnet(0), subnet(1), subnet(2)])
        store.set_bundle("subnet-0", str(tmp_path))
        store.set_bundle("subnet-1", f"{tmp_path}/gone")
        rows = {row["subnet_id"]: row["bundle_is_missing"] for row in store.subnets.find()}
        assert rows == {"subnet-0": False, "subnet-1": True, "subnet-2": False}

    def test_engine_without_its_export_is_refused(self, store: Store) -> None:
        store.record_device(NANO)
        with pytest.raises(NuwaError, match="no exported ONNX file 'abc'"):
            store.record_engine(EngineRecord("abc", NANO.device_id, "trtexec"))


class StoreContract(
    DevicesContract,
    LatencyTablesContract,
    MeasurementsContract,
    PredictorsContract,
    SubnetsContract,
    DeploymentsContract,
):
    """All of it. Subclass it as ``TestMine`` beside a fixture ``store``."""
