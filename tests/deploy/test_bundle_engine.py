"""run_engine.py against stand-ins for TensorRT 8's and 10's Python calls and for the CUDA runtime."""

import ctypes
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy import assets
from nuwa_search.deploy.write_bundle import write_bundle
from nuwa_search.lab.loading import load
from tests.deploy.bundle_parts import make_parts

SHAPES = {"images": (2, 3, 4, 4), "logits": (2, 5)}


class HostMemory:
    """A CUDA runtime whose device memory is host memory."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def cudaMalloc(self, pointer: Any, size: Any) -> int:
        self.kept.append(ctypes.create_string_buffer(size.value))
        pointer._obj.value = ctypes.addressof(self.kept[-1])
        return 0

    def cudaMemcpy(self, target: Any, source: Any, size: Any, kind: Any) -> int:
        ctypes.memmove(target, source, size.value)
        return 0


def write_sums(addresses: dict[str, int]) -> bool:
    """Stand in for the network: logit k of image b is its sum plus k."""
    images = np.ctypeslib.as_array((ctypes.c_float * 96).from_address(addresses["images"])).reshape(SHAPES["images"])
    logits = np.ctypeslib.as_array((ctypes.c_float * 10).from_address(addresses["logits"])).reshape(SHAPES["logits"])
    logits[:] = images.reshape(2, -1).sum(axis=1)[:, None] + np.arange(5)
    return True


class EngineWithIndices:
    """Calls of TensorRT 8; outputs may come first."""

    names = ("logits", "images")

    def get_binding_index(self, name: str) -> int:
        return self.names.index(name)

    def get_binding_shape(self, index: int) -> tuple[int, ...]:
        return SHAPES[self.names[index]]

    def get_binding_dtype(self, index: int) -> str:
        return "float"

    def create_execution_context(self) -> Any:
        def execute_v2(bindings: list[int]) -> bool:
            return write_sums(dict(zip(self.names, bindings, strict=True)))

        return types.SimpleNamespace(execute_v2=execute_v2)


class EngineWithNames:
    """Calls of TensorRT 10."""

    num_io_tensors = 2

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return SHAPES[name]

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def create_execution_context(self) -> Any:
        addresses: dict[str, int] = {}
        return types.SimpleNamespace(
            set_tensor_address=addresses.__setitem__, execute_async_v3=lambda stream: write_sums(addresses)
        )


def load_script(monkeypatch: pytest.MonkeyPatch, engine: object) -> Any:
    class Logger:
        WARNING = 1

        def __init__(self, severity: int) -> None:
            self.severity = severity

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> object:
            return engine

    fake = types.SimpleNamespace(__version__="8.2.1", Logger=Logger, Runtime=Runtime, nptype=lambda kind: np.float32)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", fake)
    path = Path(assets.__file__).parent / "run_engine.py"
    spec = importlib.util.spec_from_file_location("run_engine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "load_cuda_runtime", HostMemory)
    return module


@pytest.mark.parametrize("engine", [EngineWithIndices(), EngineWithNames()], ids=["tensorrt-8", "tensorrt-10"])
def test_images_go_in_and_logits_come_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: object) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    (tmp_path / "certificate.json").write_text(json.dumps({"input": "unit"}))
    module = load_script(monkeypatch, engine)
    model = module.EngineModel(tmp_path / "model.engine", tmp_path / "certificate.json")
    assert model.shape == SHAPES["images"]
    assert model.input_kind == "unit"
    assert model.runtime == "tensorrt 8.2.1"
    images = np.random.default_rng(0).random(SHAPES["images"], dtype=np.float32)
    expected = images.reshape(2, -1).sum(axis=1)[:, None] + np.arange(5)
    assert np.allclose(model.run(images), expected, atol=1e-5)


def test_an_engine_of_another_version_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"engine")
    module = load_script(monkeypatch, None)
    with pytest.raises(ValueError, match="build it again here"):
        module.EngineModel(tmp_path / "model.engine", tmp_path / "certificate.json")


def test_cuda_errors_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_script(monkeypatch, None)
    with pytest.raises(OSError, match="cudaMalloc failed with CUDA error 2"):
        module.check(2, "cudaMalloc")


@pytest.mark.parametrize(("name", "engine"), [("tensorrt", "model.engine"), ("onnxruntime", None)])
def test_a_runtime_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, engine: str | None
) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts())
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NuwaError, match="not installed"):
        load(bundle.dir, engine=engine)
