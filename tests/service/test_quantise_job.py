"""INT8 from the command line: accepted where it pays, said where it does not, refused where there is none."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest

from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.deploy import quantise_bundle as quantise
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.bundle_facts import dict_from_facts
from nuwa_search.deploy.export_bundle import ExportRequest
from nuwa_search.deploy.quantise_bundle import Int8Images, quantise_bundle
from nuwa_search.deploy.tensorrt.operators import check_operators, onnx_opset
from nuwa_search.deploy.verify_bundle import verify_bundle
from nuwa_search.lab import export as lab_export
from nuwa_search.latency.devices import find
from nuwa_search.latency.devices.registry import device_spec
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import Store
from tests.deploy.bundle_parts import make_measurement
from tests.support.toy_bundle import write_toy_bundle


@pytest.fixture
def bundle_dir(tmp_path: Path, toy_base: Path, toy_images: Path) -> Path:
    return write_toy_bundle(tmp_path / "bundle", toy_base, toy_images).dir


@pytest.fixture
def export(
    bundle_dir: Path, tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> Any:
    place = ["--base", str(toy_base), "--data", str(toy_images), "--db", str(tmp_path / "a.sqlite"), "--json"]

    def call(*more: str, code: int = 0) -> dict[str, Any]:
        found = run(cli, ["export", str(bundle_dir), *place, *more], prog_name="nuwa")
        captured = capsys.readouterr()
        assert found == code, captured.err
        return json.loads(captured.out) if code == 0 else {"error": captured.err}

    return call


def stand_in(monkeypatch: pytest.MonkeyPatch, **latencies_ms: float) -> list[DeviceSpec]:
    """Let every device answer ``plain`` or ``int8`` milliseconds, going by the graph; returns what was opened."""
    opened: list[DeviceSpec] = []

    class Device:
        def __init__(self, spec: DeviceSpec) -> None:
            self.spec = spec

        def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
            kind = "int8" if has_int8(model) else "plain"
            if self.spec.runtime == "tensorrt":
                assert (kind == "int8") is (self.spec.precision == "int8")
            return make_measurement(latencies_ms[kind], device=self.spec)

    @contextmanager
    def opened_device(
        spec: DeviceSpec, *, seed: int = 0, keeps_engines: bool = False, store: Store | None = None
    ) -> Iterator[Device]:
        opened.append(spec)
        yield Device(spec)

    monkeypatch.setattr(lab_export, "opened_device", opened_device)
    return opened


def has_int8(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_int8_that_pays_is_taken_and_told(export: Any, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export("--device", "host", "--budget-ms", "7")
    stand_in(monkeypatch, plain=10.0, int8=5.0)
    answer = export("--device", "host", "--precision", "int8", "--max-loss", "0.2")
    assert answer["accepted"]
    assert (answer["precision"], answer["latency_ms"], answer["verdict"]) == ("int8", 5.0, "met")  # of the old budget
    assert answer["onnx_mb"] < answer["plain_onnx_mb"]
    facts = answer["int8"]
    assert facts["latency_ratio"] == 0.5
    assert {s["block"] for s in facts["sensitivity"]} == {0, 1, 2}
    assert facts["plain_top1_search"] - facts["top1_search"] <= 0.2
    bundle = read_bundle(bundle_dir)
    assert bundle.certificate is not None
    assert bundle.certificate.device.precision == "int8"
    assert dict_from_facts(bundle.facts)["int8"] == facts
    assert [a.check for a in bundle.certificate.agreements] == ["int8"]
    assert has_int8(onnx.load(bundle_dir / "model.onnx"))
    assert verify_bundle(bundle).is_good
    saved = shutil.copytree(bundle_dir, bundle_dir.with_name("saved"))
    monkeypatch.setattr(lab_export, "opened_device", find.opened_device)  # the device itself again
    export("--device", "host")
    assert read_bundle(bundle_dir).facts.int8 is None
    bundle_dir = saved
    assert run(cli, ["verify", str(bundle_dir), "--device", "host", "-q"], prog_name="nuwa") == 0
    line = [sys.executable, "-I", str(bundle_dir / "run.py"), str(bundle_dir / "samples"), "--json"]
    found = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    assert len(found["images"]) == 3


def test_int8_that_is_not_faster_is_left(export: Any, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, plain=10.0, int8=11.0)
    answer = export("--device", "host", "--precision", "int8", "--max-loss", "0.2")
    assert not answer["accepted"]
    assert "not faster" in answer["reason"]
    assert (answer["precision"], answer["latency_ms"]) == ("fp32", 10.0)
    assert not has_int8(onnx.load(bundle_dir / "model.onnx"))
    known = read_bundle(bundle_dir).facts.int8
    assert known is not None
    assert known.accepted is False
    assert verify_bundle(read_bundle(bundle_dir)).is_good


def test_int8_that_loses_too_much_is_left(
    export: Any, monkeypatch: pytest.MonkeyPatch, toy_images: Path, tmp_path: Path
) -> None:
    stand_in(monkeypatch, plain=10.0, int8=1.0)
    monkeypatch.setattr(quantise, "quantise_mixed", lambda *_, **__: None)
    images = shutil.copytree(toy_images, tmp_path / "images")
    (images / "train" / "van").mkdir()
    answer = export("--device", "host", "--precision", "int8", "--data", str(images))
    assert answer["notes"] == ["class folders without images are ignored: van"]
    assert not answer["accepted"]
    assert "loss of at most 1.0 points" in answer["reason"]
    assert answer["int8"]["top1_search"] is None


@pytest.mark.parametrize(("board", "opset"), [("jetson-xavier-nx", 13), ("jetson-orin-nano", 19)])
def test_an_emulated_board_leaves_a_graph_to_be_tried(export: Any, bundle_dir: Path, board: str, opset: int) -> None:
    answer = export("--device", board, "--precision", "int8", "--max-loss", "0.2")
    assert not answer["accepted"]
    assert "measured on a board" in answer["reason"]
    assert answer["precision"] == "fp16"
    graph = onnx.load(bundle_dir / "model.int8.onnx")
    assert has_int8(graph)
    assert onnx_opset(graph) == opset
    check_operators(graph, version=device_spec(board).runtime_version)
    script = (bundle_dir / "build_int8.sh").read_text()
    assert "--onnx=model.int8.onnx --saveEngine=model.int8.engine" in script
    assert "--int8 --fp16" in script
    assert "--int8" not in (bundle_dir / "build.sh").read_text()
    assert "not measured yet" in (bundle_dir / "README.md").read_text()
    assert verify_bundle(read_bundle(bundle_dir)).is_good
    export("--device", board)
    assert not (bundle_dir / "model.int8.onnx").exists()


@pytest.mark.parametrize("board", ["jetson-nano", "jetson-tx2"])
def test_boards_without_int8_are_refused_with_the_reason(export: Any, board: str) -> None:
    error = export("--device", board, "--precision", "int8", code=2)["error"]
    assert "no native INT8" in error
    assert "--precision fp16" in error


def test_other_precisions_are_checked_as_well(export: Any) -> None:
    assert export("--device", "jetson-nano", "--precision", "fp32")["precision"] == "fp32"
    assert "computes FP16 graphs in FP32" in export("--device", "host", "--precision", "fp16", code=2)["error"]


def test_a_board_is_measured_once_per_precision(
    bundle_dir: Path, toy_base: Path, toy_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = stand_in(monkeypatch, plain=10.0, int8=8.0)
    board = DeviceSpec("lab-xavier", "ssh", "tensorrt", "8.5.2", "fp16", opset=16, compute_capability="7.2")
    images = Int8Images(str(toy_base), str(toy_images))
    opener = vars(lab_export)["opened_device"]
    answer = quantise_bundle(bundle_dir, ExportRequest(board, opener), images=images, max_loss=0.2)
    assert answer.accepted
    assert [spec.precision for spec in opened] == ["fp16", "int8"]
    assert "--int8 --fp16" in (bundle_dir / "build.sh").read_text()
    assert not (bundle_dir / "model.int8.onnx").exists()
