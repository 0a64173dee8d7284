"""Verification finds what is wrong and passes what is right; FP16 overflows are seen."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from nuwa_search.core.arch import Activation, Arch, BlockSpec
from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions, InputKind
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.verify import compare_logits, verify_fp16, verify_onnx
from tests.deploy.export_families import FAMILIES, lively_model

PREPROCESS = Preprocess(24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
IMAGES = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
MANY_IMAGES = torch.randint(0, 256, (200, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
DEEP = Arch((BlockSpec(2, 12, 12, 64),) * 8, embed_dim=32, num_classes=5, img_size=24, patch_size=8)


def test_limits_by_hand() -> None:
    expected = np.asarray([[1.0, 0.0], [0.0, 4.0]], dtype=np.float32)
    found = expected + np.asarray([[0.0, 3e-4], [0.0, 0.0]], dtype=np.float32)
    result = compare_logits(found, expected, check="fp32", runtime="x")
    assert result.max_abs_error == pytest.approx(3e-4)
    assert result.error_limit == pytest.approx(4e-4)
    assert result.argmax_agreement == 1.0
    assert result.min_cosine == pytest.approx(1.0, abs=1e-6)
    assert result.is_met
    flipped = compare_logits(expected[:, ::-1], expected, check="fp16", runtime="x")
    assert flipped.argmax_agreement == 0.0
    assert flipped.min_cosine == 0.0
    assert not flipped.is_met


def test_logits_that_are_no_numbers_never_pass() -> None:
    expected = np.ones((2, 3), dtype=np.float32)
    found = expected.copy()
    found[0, 0] = np.nan
    assert not compare_logits(found, expected, check="fp16", runtime="x").is_met


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(NuwaError, match="nothing to compare"):
        compare_logits(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), check="fp32", runtime="x")


@pytest.mark.parametrize("kind", ["normalised", "unit", "uint8"])
@pytest.mark.parametrize("batch", [1, 16])
def test_an_export_agrees_on_images(kind: InputKind, batch: int) -> None:
    model = lively_model(FAMILIES["token"])
    exported = onnx_from_vit(model, GraphOptions(batch=batch, input_kind=kind, preprocess=PREPROCESS))
    result = verify_onnx(model, exported, IMAGES, PREPROCESS)
    assert result.is_met
    assert result.num_images == 40
    assert result.runtime.startswith("onnxruntime ")


def test_one_changed_weight_is_found() -> None:
    model = lively_model(FAMILIES["token"])
    exported = onnx_from_vit(model)
    tensor = next(t for t in exported.graph.initializer if t.name.endswith("fc1.bias"))
    changed = numpy_helper.to_array(tensor).copy()
    changed[0] += 0.5
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    assert not verify_onnx(model, exported, IMAGES, PREPROCESS).is_met


@pytest.mark.parametrize(("opset", "precision"), [(13, "fp32"), (20, "fp16")])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_keeps_predictions(family: str, precision: Precision, opset: int) -> None:
    model = lively_model(FAMILIES[family])
    exported = onnx_from_vit(model, GraphOptions(opset=opset, batch=50, precision=precision))
    result = verify_fp16(model, exported, MANY_IMAGES, PREPROCESS)
    assert result.is_met, result
    assert result.min_cosine > 0.999


@pytest.mark.parametrize("act", ["gelu", "gelu_tanh", "quick_gelu"])
def test_streams_of_large_norm_do_not_overflow_half_precision(act: Activation) -> None:
    model = lively_model(dataclasses.replace(DEEP, act=act), gain=300.0)
    scale = stream_scale_from_images(model, IMAGES, PREPROCESS)
    assert scale < 0.25
    safe = verify_fp16(model, onnx_from_vit(model, GraphOptions(batch=8), stream_scale=scale), IMAGES, PREPROCESS)
    assert safe.is_met, safe
    naive = verify_fp16(model, onnx_from_vit(model, GraphOptions(batch=8), stream_scale=1.0), IMAGES, PREPROCESS)
    assert not naive.is_met  # squares beyond 65504: this is what the scale is for


def test_small_streams_are_not_scaled_down() -> None:
    assert stream_scale_from_images(lively_model(DEEP, gain=0.5), IMAGES, PREPROCESS) == 1.0


def test_half_precision_graph_is_checked_as_written() -> None:
    model = lively_model(FAMILIES["token"])
    exported = onnx_from_vit(model, GraphOptions(precision="fp16", batch=8))
    assert {t.data_type for t in exported.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    on_ort = verify_onnx(model, exported, IMAGES, PREPROCESS, check="fp16")
    assert on_ort.is_met
    assert on_ort.max_abs_error > 0


def test_fp16_may_answer_either_way_between_classes_that_it_cannot_tell_apart() -> None:
    expected = np.zeros((64, 3), np.float32)
    expected[:, 0] = 4.0
    expected[:, 1] = 4.0 - 0.02  # nearer than 2^-7 of 4
    found = expected.copy()
    found[:40, 1] += 0.03
    assert compare_logits(found, expected, check="fp16", runtime="x").argmax_agreement == 1.0
    assert compare_logits(found, expected, check="fp32", runtime="x").argmax_agreement == 24 / 64
    clear = expected.copy()
    clear[0, 1] = 4.0 - 0.04  # further: one wrong answer in 64 is more than 1 %
    found = clear.copy()
    found[0, 1] += 0.05
    judged = compare_logits(found, clear, check="fp16", runtime="x")
    assert judged.argmax_agreement == 63 / 64
    assert not judged.is_met


def test_roundings_are_held_against_the_logits_of_all_images() -> None:
    expected = np.zeros((64, 3), np.float32)
    expected[:, 0] = 5.0
    expected[0] = (0.3, 2.66, 2.63)  # an unsure image: its own logits are small, its roundings as large as any
    found = expected.copy()
    found[0] += (0.0, -0.015, 0.02)
    judged = compare_logits(found, expected, check="fp16", runtime="x")
    assert judged.argmax_agreement == 1.0
    assert judged.is_met


def test_an_image_of_small_logits_may_point_elsewhere_by_no_more_than_roundings() -> None:
    expected = np.zeros((64, 2), np.float32)
    expected[:, 0], expected[:, 1] = 4.0, -4.0
    expected[0] = (0.01, -0.01)
    found = expected + np.float32(0.0)
    found[0] = (-0.01, 0.01)
    judged = compare_logits(found, expected, check="fp16", runtime="x")
    assert judged.min_cosine == pytest.approx(-1.0, abs=1e-5)
    assert judged.is_met


def test_fp32_answers_either_way_where_its_own_error_is_allowed() -> None:
    expected = np.asarray([[4.0, 3.9994], [0.0, 4.0]], np.float32)
    found = np.asarray([[3.99965, 3.99975], [0.0, 4.0]], np.float32)  # both off by less than 1e-4 of 4
    judged = compare_logits(found, expected, check="fp32", runtime="x")
    assert judged.argmax_agreement == 1.0
    assert judged.is_met
    further = expected - np.asarray([[0.0, 0.001], [0.0, 0.0]], np.float32)
    assert not compare_logits(found, further, check="fp32", runtime="x").is_met
