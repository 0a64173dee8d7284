"""What every runtime must do: a fixture ``runtime`` gives the one that is tested."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.runtime import Runtime
from nuwa_search.core.tasks.label_maps import upsampled
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.testing.families import DENSE, FAMILIES, lively_model


def dynamic_model() -> bytes:
    """Write a graph whose batch is open, which no runtime here takes."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["logits"])], "dynamic", [images], [logits])
    opsets = [helper.make_opsetid("", 13)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()
    return data


class RuntimeContract:
    """Loads models, and gives the logits of the PyTorch module. Subclass it as ``TestMine`` beside the fixture."""

    @pytest.mark.parametrize("opset", [13, 20])
    @pytest.mark.parametrize(
        "family", ["dist", "gelu_tanh", "pre_norm", "quick_gelu", "registers_avg", "relu", "rmsnorm"]
    )
    def test_logits_are_the_modules(self, runtime: Runtime, family: str, opset: int) -> None:
        model = lively_model(FAMILIES[family])
        images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = model(images).numpy()
        session = runtime.load(onnx_from_vit(model, GraphOptions(opset=opset, batch=2)).SerializeToString())
        found = session.run(images.numpy())
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 1e-4

    def test_maps_are_the_modules(self, runtime: Runtime) -> None:
        """Of nets that answer for every pixel: logits at the picture's size, or the class of each pixel."""
        model = lively_model(DENSE)
        images = torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = upsampled(model(images), (24, 32)).numpy()
        found = runtime.load(onnx_from_vit(model).SerializeToString()).run(images.numpy())
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 1e-4
        graph = onnx_from_vit(model, GraphOptions(output_kind="labels"))
        labels = runtime.load(graph.SerializeToString()).run(images.numpy())
        best, second = -np.partition(-expected, 1, axis=1)[:, :2].transpose(1, 0, 2, 3)
        is_sure = best - second > 1e-3
        assert is_sure.mean() > 0.9
        assert (labels.reshape(is_sure.shape) == expected.argmax(axis=1))[is_sure].all()

    def test_bytes_and_path_are_the_same(self, runtime: Runtime, tmp_path: Path) -> None:
        data = onnx_from_vit(lively_model(FAMILIES["token"])).SerializeToString()
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        images = np.random.default_rng(0).standard_normal((1, 3, 24, 24), dtype=np.float32)
        assert (runtime.load(path).run(images) == runtime.load(data).run(images)).all()

    def test_logits_are_the_callers(self, runtime: Runtime) -> None:
        session = runtime.load(onnx_from_vit(lively_model(FAMILIES["token"])).SerializeToString())
        draw = np.random.default_rng(0)
        images = draw.standard_normal((1, 3, 24, 24), dtype=np.float32)
        given = images.copy()
        first = session.run(images)
        kept = first.copy()
        session.run(draw.standard_normal((1, 3, 24, 24), dtype=np.float32))
        assert (first == kept).all()
        assert (images == given).all()

    def test_it_says_what_it_takes(self, runtime: Runtime) -> None:
        session = runtime.load(
            onnx_from_vit(lively_model(FAMILIES["token"]), GraphOptions(batch=4)).SerializeToString()
        )
        assert session.input_shape == (4, 3, 24, 24)
        assert runtime.name
        assert runtime.version[0].isdigit()

    def test_uint8_input(self, runtime: Runtime) -> None:
        preprocess = Preprocess(24)
        exported = onnx_from_vit(
            lively_model(FAMILIES["token"]), GraphOptions(input_kind="uint8", preprocess=preprocess)
        )
        session = runtime.load(exported.SerializeToString())
        assert np.isfinite(session.run(np.zeros((1, 3, 24, 24), dtype=np.uint8))).all()
        with pytest.raises(NuwaError, match="uint8 images"):
            session.run(np.zeros((1, 3, 24, 24), dtype=np.float32))

    def test_wrong_batch_is_refused(self, runtime: Runtime) -> None:
        session = runtime.load(
            onnx_from_vit(lively_model(FAMILIES["token"]), GraphOptions(batch=4)).SerializeToString()
        )
        with pytest.raises(NuwaError, match="found float32"):
            session.run(np.zeros((3, 3, 24, 24), dtype=np.float32))

    def test_dynamic_shapes_are_refused(self, runtime: Runtime) -> None:
        with pytest.raises(NuwaError, match="fixed sizes"):
            runtime.load(dynamic_model())

    @pytest.mark.parametrize("damage", [b"", b"not a model", None])
    def test_damaged_models_are_refused(self, runtime: Runtime, damage: bytes | None) -> None:
        whole = onnx_from_vit(lively_model(FAMILIES["token"])).SerializeToString()
        with pytest.raises(NuwaError):
            runtime.load(whole[: len(whole) // 2] if damage is None else damage)

    def test_missing_file(self, runtime: Runtime, tmp_path: Path) -> None:
        with pytest.raises(NuwaError, match="no ONNX model at"):
            runtime.load(tmp_path / "absent.onnx")
