"""The Python builder and runner against the published bindings' signatures, and on hardware where there is any."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt import builder, engine_runner
from nuwa_search.deploy.tensorrt.bindings import load_tensorrt
from nuwa_search.deploy.tensorrt.builder import LocalGpu, build_engine, find_local_gpu
from nuwa_search.deploy.tensorrt.engine_info import read_engine_info
from nuwa_search.deploy.tensorrt.engine_runner import EngineRunner
from tests.support.trt_contract import Double, bindings_release, make_double, read_api

GPU = LocalGpu("Some GPU", "8.7", 8192)


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_api(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def trt(api: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Double:
    double = make_double(api, bindings_release())
    for module in (builder, engine_runner):
        monkeypatch.setattr(module, "load_tensorrt", lambda: double.module)
    monkeypatch.setattr(builder, "find_local_gpu", lambda: GPU)
    return double


def write_model(path: Path, kind: type[np.generic] = np.float32, *, op: str = "MatMul", opset: int = 18) -> Path:
    element = TensorProto.FLOAT if kind is np.float32 else TensorProto.FLOAT16
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", element, [1, 4])],
        [helper.make_tensor_value_info("y", element, [1, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=kind), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def build(tmp_path: Path, *, precision: Precision = "fp32", **changes: Any) -> Any:
    kind = np.float16 if precision == "fp16" else np.float32
    model = write_model(tmp_path / "m.onnx", changes.pop("kind", kind), op=changes.pop("op", "MatMul"))
    return build_engine(model, tmp_path / "m.engine", precision=precision, workspace_mb=512, **changes)


class TestContract:
    def test_the_double_refuses_what_the_api_does_not_have(self, trt: Double) -> None:
        logger = trt.module.Logger(trt.module.Logger.WARNING)
        made = trt.module.Builder(logger)
        with pytest.raises(AttributeError):
            made.build_cuda_engine  # noqa: B018 - gone since TensorRT 10
        with pytest.raises(AttributeError):
            trt.module.BuilderFlag.FP16  # noqa: B018 - gone since TensorRT 11
        with pytest.raises(TypeError):
            made.create_network("0")
        with pytest.raises(TypeError):
            made.create_builder_config(1)
        with pytest.raises(TypeError):
            trt.module.OnnxParser(logger, made)

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_builds_and_describes(self, trt: Double, tmp_path: Path, precision: Precision) -> None:
        info = build(tmp_path, precision=precision)
        assert (tmp_path / "m.engine").read_bytes() == b"plan"
        assert read_engine_info(tmp_path / "m.engine") == info
        assert (info.device_name, info.compute_capability, info.precision) == ("Some GPU", "8.7", precision)
        assert bindings_release().startswith(info.tensorrt_version)
        assert trt.arguments("Builder.create_network") == (
            1 << trt.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED,
        )
        pool, size = trt.arguments("IBuilderConfig.set_memory_pool_limit")
        assert (pool.name, size) == ("WORKSPACE", 512 * 1024**2)
        assert trt.arguments("IBuilderConfig.clear_flag")[0].name == "TF32"
        assert "IBuilderConfig.set_timing_cache" not in trt.names()

    def test_the_timing_cache_is_made_then_used_then_replaced(self, trt: Double, tmp_path: Path) -> None:
        cache = tmp_path / "timing.cache"
        build(tmp_path, timing_cache_path=cache)
        assert trt.arguments("IBuilderConfig.create_timing_cache") == (b"",)
        assert cache.read_bytes() == b"plan"  # what the double's memory holds
        trt.calls.clear()
        build(tmp_path, timing_cache_path=cache)
        assert trt.arguments("IBuilderConfig.create_timing_cache") == (b"plan",)
        trt.calls.clear()
        trt.answers["IBuilderConfig.set_timing_cache"] = False  # a cache of another GPU
        build(tmp_path, timing_cache_path=cache)
        made = [arguments for name, arguments in trt.calls if name == "IBuilderConfig.create_timing_cache"]
        assert made == [(b"plan",), (b"",)]

    def test_a_model_the_parser_refuses_is_said_with_its_reasons(self, trt: Double, tmp_path: Path) -> None:
        trt.answers |= {"OnnxParser.parse": False, "OnnxParser.num_errors": 1}
        trt.answers["OnnxParser.get_error"] = trt.module.ParserError.__new__(trt.module.ParserError)
        trt.answers["ParserError.desc"] = "no importer"
        with pytest.raises(NuwaError, match="no importer"):
            build(tmp_path)
        assert not (tmp_path / "m.engine").exists()

    def test_a_build_that_fails_leaves_nothing(self, trt: Double, tmp_path: Path) -> None:
        trt.answers["Builder.build_serialized_network"] = None
        with pytest.raises(OutsideError, match="built no engine"):
            build(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"precision": "fp16", "kind": np.float32}, "types alone"),
            ({"precision": "fp32", "kind": np.float16}, "are FP16"),
            ({"precision": "int8", "kind": np.float32}, "QuantizeLinear"),
            ({"op": "Det"}, "Det"),
        ],
    )
    def test_the_illegal_is_refused_before_a_builder_is_made(
        self, trt: Double, tmp_path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(NuwaError, match=reason):
            build(tmp_path, **changes)
        assert trt.calls == []

    def test_the_runner_uses_what_the_api_has(
        self, trt: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(tmp_path)
        monkeypatch.setattr(engine_runner, "_DEVICE", "cpu")
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: type("Stream", (), {"cuda_stream": 7}))
        modes = {"x": trt.module.TensorIOMode.INPUT, "y": trt.module.TensorIOMode.OUTPUT}
        trt.answers |= {
            "ICudaEngine.num_io_tensors": 2,
            "ICudaEngine.get_tensor_name": lambda index: "xy"[index],
            "ICudaEngine.get_tensor_mode": lambda name: modes[name],
            "ICudaEngine.get_tensor_shape": lambda name: (1, 4),
            "ICudaEngine.get_tensor_dtype": trt.module.DataType.FLOAT,
        }
        runner = EngineRunner(tmp_path / "m.engine")
        outputs = runner.run({"x": torch.ones(1, 4)})
        assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {"y": (1, 4)}
        assert trt.arguments("IExecutionContext.execute_async_v3") == (7,)
        with pytest.raises(NuwaError, match="the engine takes"):
            runner.run({"x": torch.ones(1, 5)})


class TestAbsent:
    def test_missing_bindings_or_libraries_are_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str) -> None:
            raise ImportError("libnvinfer.so.11: cannot open shared object file")

        monkeypatch.setattr("nuwa_search.deploy.tensorrt.bindings.importlib.import_module", fail)
        with pytest.raises(NuwaError, match="libnvinfer") as caught:
            load_tensorrt()
        assert "pip install" in caught.value.hint

    def test_bindings_too_old_are_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old = type("Old", (), {"__version__": "8.6.1"})
        monkeypatch.setattr("nuwa_search.deploy.tensorrt.bindings.importlib.import_module", lambda name: old)
        with pytest.raises(NuwaError, match="too old"):
            load_tensorrt()

    def test_a_machine_without_gpu_is_told_where_to_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(NuwaError, match="only where its GPU is"):
            find_local_gpu()


@pytest.mark.tensorrt
@pytest.mark.gpu
def test_on_hardware_an_engine_computes_what_the_model_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed", exc_type=ImportError)
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    build(tmp_path, timing_cache_path=tmp_path / "timing.cache")
    x = torch.arange(4.0).reshape(1, 4)
    assert torch.equal(EngineRunner(tmp_path / "m.engine").run({"x": x})["y"], x)
