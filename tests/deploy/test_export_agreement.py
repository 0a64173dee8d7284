"""Exported graphs compute what the PyTorch module computes, for every family, opset and batch."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions, InputKind
from tests.deploy.export_families import FAMILIES, lively_model

TOLERANCE = 1e-4  # largest logit error allowed in FP32
OPSETS = (13, 18, 20)


def run_ort(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(["logits"], {"images": images})[0]
    return logits


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_export_agrees_with_pytorch(family: str, opset: int) -> None:
    model = lively_model(FAMILIES[family])
    images = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(images).numpy()
    exported = onnx_from_vit(model, GraphOptions(opset=opset, batch=6))
    onnx.checker.check_model(exported, full_check=True)
    found = run_ort(exported, images.numpy())
    assert np.abs(found - expected).max() <= TOLERANCE
    assert (found.argmax(1) == expected.argmax(1)).all()
    one = run_ort(onnx_from_vit(model, GraphOptions(opset=opset)), images[:1].numpy())
    assert np.abs(one - expected[:1]).max() <= TOLERANCE


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("family", FAMILIES)
def test_trimming_tokens_does_not_change_the_logits(family: str, opset: int) -> None:
    model = lively_model(FAMILIES[family])
    images = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(images).numpy()
    for batch in (1, 3):
        exported = onnx_from_vit(model, GraphOptions(opset=opset, batch=batch, trim_tokens=True))
        onnx.checker.check_model(exported, full_check=True)
        assert np.abs(run_ort(exported, images[:batch].numpy()) - expected[:batch]).max() <= TOLERANCE


def test_trimming_leaves_less_to_compute() -> None:
    model = lively_model(FAMILIES["token"])
    inferred = onnx.shape_inference.infer_shapes(onnx_from_vit(model, GraphOptions(trim_tokens=True)))
    rows = {v.name: v.type.tensor_type.shape.dim[0].dim_value for v in inferred.graph.value_info}
    assert (rows["blocks.1.mlp.fc1"], rows["blocks.2.mlp.fc1"]) == (10, 1)


@pytest.mark.parametrize("kind", ["unit", "uint8"])
@pytest.mark.parametrize("opset", [13, 20])
def test_normalisation_inside_the_graph(kind: InputKind, opset: int) -> None:
    model = lively_model(FAMILIES["token"])
    preprocess = Preprocess(24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    raw = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(normalise(raw, preprocess)).numpy()
    exported = onnx_from_vit(model, GraphOptions(opset=opset, batch=4, input_kind=kind, preprocess=preprocess))
    onnx.checker.check_model(exported, full_check=True)
    given = raw.numpy() if kind == "uint8" else raw.numpy().astype(np.float32) / np.float32(255)
    assert np.abs(run_ort(exported, given) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("stream_scale", [1.0, 2.0**-8])
def test_stream_scale_does_not_change_the_function(stream_scale: float) -> None:
    for family in ("token", "no_final_norm", "pre_norm"):
        model = lively_model(FAMILIES[family])
        images = torch.randn(2, 3, 24, 24)
        with torch.inference_mode():
            expected = model(images).numpy()
        exported = onnx_from_vit(model, GraphOptions(batch=2), stream_scale=stream_scale)
        assert np.abs(run_ort(exported, images.numpy()) - expected).max() <= TOLERANCE
