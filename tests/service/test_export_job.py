"""`nuwa export`: the graph a device can take, with fewer tokens where that was asked for."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.verify_bundle import verify_bundle
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from nuwa_search.service.cli.main import cli, run
from tests.deploy.bundle_parts import LABELS, PREPROCESS, png
from tests.deploy.export_families import FAMILIES, lively_model


def export(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    code = run(cli, ["export", *args, "--json"], prog_name="nuwa")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def test_trimmed_tokens_leave_less_to_launch_and_the_same_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lively_model(FAMILIES["token"])
    parts = BundleParts(model, model.arch, LABELS, PREPROCESS, samples=(("bus.png", png(40, 30)),))
    bundle = write_bundle(tmp_path / "b", parts)
    place = [str(bundle.dir), "--device", "jetson-nano", "--db", str(tmp_path / "a.sqlite")]
    export(capsys, *place)
    whole = onnx.shape_inference.infer_shapes(onnx.load(bundle.dir / "model.onnx"))
    export(capsys, *place, "--trim-tokens")
    trimmed = onnx.shape_inference.infer_shapes(onnx.load(bundle.dir / "model.onnx"))
    rows = [
        next(v.type.tensor_type.shape.dim[0].dim_value for v in m.graph.value_info if v.name == "blocks.2.mlp.fc1")
        for m in (whole, trimmed)
    ]
    assert rows == [model.arch.num_tokens, 1]
    check = verify_bundle(read_bundle(bundle.dir))
    assert check.is_good
    assert [a.check for a in check.agreements] == ["fp32", "fp16"]


@pytest.mark.parametrize(("device", "kind"), [("jetson-nano", "unit"), ("host", "uint8")])
def test_normalisation_can_be_inside_the_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str, kind: str
) -> None:
    model = lively_model(FAMILIES["token"])
    parts = BundleParts(model, model.arch, LABELS, PREPROCESS, samples=(("bus.png", png(40, 30)),))
    bundle = write_bundle(tmp_path / "b", parts)
    place = [str(bundle.dir), "--db", str(tmp_path / "a.sqlite"), "--input", kind]
    export(capsys, *place, "--device", device)
    certificate = read_bundle(bundle.dir).certificate
    assert certificate is not None
    assert certificate.input_kind == kind
    element = onnx.load(bundle.dir / "model.onnx").graph.input[0].type.tensor_type.elem_type
    assert (element == onnx.TensorProto.UINT8) is (kind == "uint8")
    assert verify_bundle(read_bundle(bundle.dir)).is_good


def test_bytes_are_not_promised_to_tensorrt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = lively_model(FAMILIES["token"])
    bundle = write_bundle(tmp_path / "b", BundleParts(model, model.arch, LABELS, PREPROCESS))
    line = ["export", str(bundle.dir), "--device", "jetson-nano", "--input", "uint8", "--db", str(tmp_path / "a.db")]
    assert run(cli, line, prog_name="nuwa") == 2
    assert "--input unit" in capsys.readouterr().err
