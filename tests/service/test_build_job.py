"""`nuwa build`: the board's line with its limits, and engines built here against the published bindings."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.build import BuildRequest, build_engine_in
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.ship import compare_graph
from nuwa_search.deploy.tensorrt import builder
from nuwa_search.deploy.tensorrt.builder import LocalGpu
from nuwa_search.deploy.tensorrt.engine_info import read_engine_info
from nuwa_search.deploy.tensorrt.engine_runner import EngineRunner
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision, graph_precision
from nuwa_search.deploy.verify_bundle import verify_bundle
from nuwa_search.predictors.device_predictor import exporter_of
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_bundle import write_toy_bundle
from tests.support.trt_contract import Double, bindings_release, make_double, read_api

GPU = DeviceSpec("cuda", "cuda", "torch", "2.15", "fp16", opset=17, compute_capability="8.7", memory_mb=4096)


@pytest.fixture
def bundle(tmp_path: Path, toy_base: Path, toy_images: Path) -> Bundle:
    return write_toy_bundle(tmp_path / "bundle", toy_base, toy_images)


def nuwa(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    code = run(cli, [*args, "--json"], prog_name="nuwa")
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else (code, captured.err)


def test_the_line_carries_its_limits_into_the_script(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [str(bundle.dir), "--device", "jetson-nano", "--db", str(tmp_path / "a.sqlite")]
    code, error = nuwa(capsys, "build", *place)
    assert code == 2
    assert f"nuwa export --db {tmp_path / 'a.sqlite'} {bundle.dir} --device jetson-nano" in error
    nuwa(capsys, "export", *place)
    default = nuwa(capsys, "build", *place)
    assert "--workspace=512" in default["line"]  # an eighth of 4 GB
    assert default["engine"] is None
    limited = nuwa(capsys, "build", *place, "--workspace-mb", "128", "--timing-cache", "timing.cache")
    assert "--workspace=128" in limited["line"]
    assert "--timingCacheFile=timing.cache" in limited["line"]
    assert Path(limited["build"]).read_text().splitlines()[-1] == limited["line"]
    assert verify_bundle(read_bundle(bundle.dir)).is_good
    code, error = nuwa(capsys, "build", str(bundle.dir), "--device", "jetson-tx2", "--db", str(tmp_path / "a.sqlite"))
    assert code == 2
    assert "exported for jetson-nano, not for jetson-tx2" in error


def test_devices_without_engines_say_how_to_run(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [str(bundle.dir), "--device", "host", "--db", str(tmp_path / "a.sqlite")]
    nuwa(capsys, "export", *place)
    code, error = nuwa(capsys, "build", *place)
    assert code == 2
    assert "no engine to build" in error
    assert "run.py" in error


@pytest.mark.parametrize(("version", "kind"), [("8.2.1", "FLOAT"), ("10.3.0", "FLOAT"), ("11.4.0", "FLOAT16")])
def test_graphs_carry_the_types_that_a_release_goes_by(version: str, kind: str) -> None:
    """TensorRT 11 has no --fp16: an FP32 graph would be refused by the device after a profile's first row."""
    spec = DeviceSpec("lab", "ssh", "tensorrt", version, "fp16", opset=13, compute_capability="8.7")
    arch = Arch((BlockSpec(2, 8, 8, 32),), embed_dim=16, num_classes=3, img_size=16, patch_size=8)
    graph = exporter_of(spec)(arch)
    check_typed_precision(graph, precision="fp16", version=version)
    weight = next(tensor for tensor in graph.graph.initializer if tensor.name == "head.weight")
    assert weight.data_type == getattr(onnx.TensorProto, kind)
    model = PlainViT(arch).eval()
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    exported = onnx_from_vit(model, GraphOptions(precision=graph_precision(spec)))
    agreements = compare_graph(model, exported, spec, images=images, preprocess=Preprocess(16))
    assert [a.check for a in agreements] == (["fp16", "fp16"] if kind == "FLOAT16" else ["fp32", "fp16"])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_api(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def trt(api: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Double:
    double = make_double(api, bindings_release())
    monkeypatch.setattr(builder, "load_tensorrt", lambda: double.module)
    monkeypatch.setattr(builder, "find_local_gpu", lambda: LocalGpu("Some GPU", "8.7", 4096))
    return double


def answer_with(monkeypatch: pytest.MonkeyPatch, bundle: Bundle, *, sign: float) -> None:
    """Let engines answer what the weights say, times ``sign``."""
    model = bundle.load_model()

    @torch.inference_mode()
    def run_engine(self: EngineRunner, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": sign * model(inputs["images"])}

    monkeypatch.setattr(EngineRunner, "run", run_engine)
    monkeypatch.setattr(EngineRunner, "load", lambda self: None)


def test_an_engine_is_built_from_typed_graphs_and_compared(
    bundle: Bundle, tmp_path: Path, trt: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, bundle, sign=1.0)
    cache = tmp_path / "timing.cache"
    answer = build_engine_in(bundle.dir, BuildRequest(GPU, timing_cache=str(cache)))
    assert answer.agreement is not None
    assert answer.agreement.argmax == 1.0
    info = read_engine_info(bundle.dir / "model.engine")
    assert (info.precision, info.workspace_mb) == ("fp16", 512)
    assert cache.exists()
    graph = onnx.load_model_from_string(trt.arguments("OnnxParser.parse")[0])
    kinds = {tensor.data_type for tensor in graph.graph.initializer if tensor.data_type != onnx.TensorProto.INT64}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert read_bundle(bundle.dir).engine_path is not None


def test_verifying_runs_the_engine_where_it_can(
    bundle: Bundle, tmp_path: Path, trt: Double, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nuwa(capsys, "export", str(bundle.dir), "--device", "host", "--db", str(tmp_path / "a.sqlite"))
    with monkeypatch.context() as inside:
        answer_with(inside, bundle, sign=1.0)
        build_engine_in(bundle.dir, BuildRequest(GPU))
    here = nuwa(capsys, "verify", str(bundle.dir))  # no TensorRT on this machine
    assert here["is_good"]
    assert "the engine was not run" in here["notes"][0]
    answer_with(monkeypatch, bundle, sign=1.0)
    check = verify_bundle(read_bundle(bundle.dir))
    assert check.is_good
    assert check.notes == ()
    assert [a.runtime.split()[0] for a in check.agreements] == ["onnxruntime", "tensorrt"]
    answer_with(monkeypatch, bundle, sign=-1.0)
    assert "tensorrt" in verify_bundle(read_bundle(bundle.dir)).faults[0]


def test_an_engine_that_computes_something_else_is_not_kept(
    bundle: Bundle, trt: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, bundle, sign=-1.0)
    with pytest.raises(NoAnswerError, match="does not agree"):
        build_engine_in(bundle.dir, BuildRequest(GPU))
    assert read_bundle(bundle.dir).engine_path is None
