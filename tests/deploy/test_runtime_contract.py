"""What every runtime must do, once per implementation."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx
import pytest
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.runtime import Runtime, Session
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.runtimes.engine_session import EngineSession
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.runtimes.torch_graph import TorchGraph
from nuwa_search.deploy.runtimes.torch_runtime import TorchRuntime
from nuwa_search.deploy.tensorrt.engine_runner import EngineRunner
from nuwa_search.deploy.verify import verify_session
from nuwa_search.testing.families import FAMILIES, lively_model
from nuwa_search.testing.runtime import RuntimeContract, dynamic_model

RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": OnnxRuntime(),
    "onnxruntime-unoptimised": OnnxRuntime(threads=2, optimisation="none"),
    "torch": TorchRuntime(),
}


@pytest.fixture(params=RUNTIMES, ids=list(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return RUNTIMES[request.param]


def test_the_graph_that_cuda_times_computes_the_module() -> None:
    """On the CPU here; the same code runs on the GPU."""
    model = lively_model(FAMILIES["registers_avg"])
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    graph = TorchGraph(onnx_from_vit(model, GraphOptions(opset=17, batch=2)), dtype=torch.float32, device="cpu")
    with torch.inference_mode():
        expected = model(images).numpy()
    assert graph.input_shape == (2, 3, 24, 24)
    assert np.abs(graph.run(images.numpy()) - expected).max() <= 1e-4
    with pytest.raises(NuwaError, match="takes float32 images"):
        graph.run(images.numpy()[:1])


def test_cuda_says_which_graphs_it_times() -> None:
    """Not as an error of some operator: a second input, or one of a type that pixels have not."""
    model = onnx_from_vit(lively_model(FAMILIES["token"]), GraphOptions(opset=17, batch=1))
    second = onnx.ModelProto()
    second.CopyFrom(model)
    second.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1, 4]))
    with pytest.raises(NuwaError, match=r"has 2 inputs \(images, mask\), and device cuda times graphs of one"):
        TorchGraph(second, dtype=torch.float32, device="cuda")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(NuwaError, match="is DOUBLE, and device cuda takes FLOAT, FLOAT16, UINT8"):
        TorchGraph(model, dtype=torch.float32, device="cuda")


def test_an_operator_in_a_form_that_cuda_has_not_is_named() -> None:
    model = onnx_from_vit(lively_model(FAMILIES["token"]), GraphOptions(opset=17, batch=1))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    del conv.attribute[:]
    graph = TorchGraph(model, dtype=torch.float32, device="cpu")
    with pytest.raises(NuwaError, match=f"cannot run Conv '{conv.name}' as this graph writes it"):
        graph.run(np.zeros(graph.input_shape, dtype=np.float32))


class TestRuntime(RuntimeContract):
    """The fixture ``runtime`` gives one of each."""


class RunnerOnTorch(EngineRunner):
    """Stands in for the GPU: takes and gives named tensors as an engine's runner does."""

    def __init__(self, data: bytes) -> None:
        self._session = TorchRuntime().load(data)

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": torch.from_numpy(self._session.run(inputs["images"].numpy()))}


def test_an_engine_is_verified_like_any_other_session() -> None:
    model = lively_model(FAMILIES["token"])
    runner = RunnerOnTorch(onnx_from_vit(model, GraphOptions(batch=4)).SerializeToString())
    session: Session = EngineSession(runner, input_shape=(4, 3, 24, 24))
    images = torch.randint(0, 256, (6, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    verify = partial(verify_session, input_kind="normalised", check="fp32", runtime="tensorrt 10.3")
    assert verify(model, session, images, Preprocess(24)).is_met
    with pytest.raises(NuwaError, match="found float32"):
        session.run(np.zeros((1, 3, 24, 24), dtype=np.float32))


def test_torch_runtime_names_operators_it_lacks() -> None:
    model = onnx.load_model_from_string(dynamic_model())
    model.graph.node[0].op_type = "Selu"
    with pytest.raises(NuwaError, match="Selu"):
        TorchRuntime().load(model.SerializeToString())
