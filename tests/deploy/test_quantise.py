"""INT8 by Q/DQ: what is quantised, what it costs in accuracy, and when it is refused."""

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from PIL import Image

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.device import Device, DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric
from nuwa_search.core.tasks.label_maps import label_map
from nuwa_search.core.tasks.masks import Masks
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.quantise import mixed
from nuwa_search.deploy.quantise.decision import decide_int8
from nuwa_search.deploy.quantise.mixed import MixedModel, quantise_mixed
from nuwa_search.deploy.quantise.qdq import Int8Quantiser
from nuwa_search.deploy.quantise.sensitivity import BlockSensitivity, block_sensitivities
from nuwa_search.deploy.runtimes.batches import run_batches
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from tests.deploy.bundle_parts import make_measurement
from tests.deploy.export_families import FAMILIES, lively_model
from tests.support.vit_parts import mlp_of

HOST = DeviceSpec("host", "host", "onnxruntime", "1.20", "int8")
XAVIER = DeviceSpec("xavier", "ssh", "tensorrt", "8.5.2", "int8", compute_capability="7.2")
ARCH = Arch((BlockSpec(2, 8, 8, 48),) * 4, embed_dim=32, num_classes=5, img_size=24, patch_size=8)
CALIBRATION = np.random.default_rng(0).standard_normal((8, 3, 24, 24), dtype=np.float32)
IMAGES = np.random.default_rng(1).standard_normal((60, 3, 24, 24), dtype=np.float32)
RUNTIME = OnnxRuntime()


def export(model: PlainViT | None = None) -> onnx.ModelProto:
    return onnx_from_vit(model or lively_model(ARCH), GraphOptions(opset=20, batch=4))


def logits(model: onnx.ModelProto) -> np.ndarray:
    return run_batches(RUNTIME.load(model.SerializeToString()), IMAGES)


def fragile_model() -> PlainViT:
    """A model whose block 2 has one neuron so loud that eight bits lose all others."""
    model = lively_model(ARCH)
    with torch.no_grad():
        mlp = mlp_of(model, 2)
        mlp.fc1.bias[0] = 4000.0
        mlp.fc2.weight[:, 0] = 1e-6
        mlp.fc2.weight[:, 1:] *= 20
    return model


def test_all_gemms_of_blocks_are_quantised_and_nothing_else() -> None:
    exported = export()
    quantised = Int8Quantiser(exported, CALIBRATION, device=HOST).quantise()
    onnx.checker.check_model(quantised)
    makers = {name: node.op_type for node in quantised.graph.node for name in node.output}
    for node in quantised.graph.node:
        if node.op_type == "Gemm":
            expected = "DequantizeLinear" if node.name.startswith("blocks.") else None
            sources = {makers.get(name) for name in node.input[1:]}
            assert sources == {expected}, node.name
    assert [p.key for p in quantised.metadata_props] == [p.key for p in exported.metadata_props]
    kinds = {t.data_type for t in quantised.graph.initializer if t.name.endswith(".weight_quantized")}
    assert kinds == {TensorProto.INT8}
    assert not any(t.name.startswith("blocks.") and t.name.endswith(".weight") for t in quantised.graph.initializer)


@pytest.mark.parametrize("family", ["plain", "rotary"])
def test_predictions_survive(family: str) -> None:
    exported = export(None if family == "plain" else lively_model(FAMILIES[family]))
    before = logits(exported)
    after = logits(Int8Quantiser(exported, CALIBRATION, device=HOST).quantise())
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.85
    assert 0 < np.square(after - before).mean() / before.var() < 0.02


def test_the_model_given_is_not_changed() -> None:
    exported = export()
    before = exported.SerializeToString()
    Int8Quantiser(exported, CALIBRATION, device=HOST).quantise(blocks=[0])
    assert exported.SerializeToString() == before


@pytest.mark.parametrize("blocks", [(), (1,), (0, 3)])
def test_only_the_chosen_blocks_are_quantised(blocks: tuple[int, ...]) -> None:
    quantised = Int8Quantiser(export(), CALIBRATION, device=HOST).quantise(blocks=blocks)
    onnx.checker.check_model(quantised)
    RUNTIME.load(quantised.SerializeToString())
    inside = (
        {int(n.name.split(".")[1]) for n in quantised.graph.node if n.op_type == "QuantizeLinear"} if blocks else set()
    )
    assert inside == set(blocks)
    assert any(n.op_type == "QuantizeLinear" for n in quantised.graph.node) is bool(blocks)


def test_tensorrt_gets_symmetric_pairs() -> None:
    quantised = Int8Quantiser(export(), CALIBRATION, device=XAVIER).quantise()
    onnx.checker.check_model(quantised)
    constants = {t.name: t for t in quantised.graph.initializer}
    for node in quantised.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.data_type == TensorProto.INT8
            assert not onnx.numpy_helper.to_array(zero).any()
    assert not any(t.data_type == TensorProto.INT32 for t in constants.values())
    weights = [t for n, t in constants.items() if n.endswith(".weight")]
    assert all(t.data_type == TensorProto.FLOAT for t in weights)


def test_maps_are_judged_by_miou_at_each_masks_own_size() -> None:
    exported = onnx_from_vit(lively_model(dataclasses.replace(ARCH, global_pool="patches")), GraphOptions(opset=20))
    images, size = IMAGES[:20], (30, 18)

    def answers(model: onnx.ModelProto) -> list[np.ndarray]:
        maps = torch.from_numpy(run_batches(RUNTIME.load(model.SerializeToString()), images))
        return [label_map(one, size).numpy().astype(np.uint8) for one in maps]

    files = [io.BytesIO() for _ in images]
    for file, labels in zip(files, answers(exported), strict=True):
        Image.fromarray(labels).save(file, "PNG")
    truths = Masks([file.getvalue() for file in files], np.arange(256, dtype=np.uint8), np.zeros((20, 256), np.int64))
    quantiser = Int8Quantiser(exported, CALIBRATION, device=HOST)
    nothing = np.zeros(len(images), np.int64)
    found = quantise_mixed(
        quantiser, exported, images, nothing, max_loss=1.0, runtime=RUNTIME, metric="miou", truths=truths
    )
    assert found is not None
    assert isinstance(found.after, PixelScores)
    assert (found.before.accuracy("miou"), found.float_blocks, found.before.top1) == (1.0, (), None)
    right = [(labels == truths.label_map(k)).sum() for k, labels in enumerate(answers(found.model))]
    assert found.after.hits.sum(axis=1).tolist() == right
    assert found.loss == 1 - found.after.miou


def test_the_fragile_block_is_found_and_left_in_float() -> None:
    exported = export(fragile_model())
    quantiser = Int8Quantiser(exported, CALIBRATION, device=HOST)
    reference = logits(exported)
    ranked = block_sensitivities(quantiser, IMAGES, reference=reference, runtime=RUNTIME)
    assert ranked[0].block == 2
    assert ranked[0].relative_error > 5 * ranked[1].relative_error
    labels = reference.argmax(1).astype(np.int64)
    found = quantise_mixed(quantiser, exported, IMAGES, labels, max_loss=0.15, runtime=RUNTIME)
    assert found is not None
    assert found.float_blocks == (2,)
    assert found.before.top1 == 1.0
    assert found.loss <= 0.15


def test_nothing_is_quantised_where_every_block_costs_too_much() -> None:
    exported = export(fragile_model())
    quantiser = Int8Quantiser(exported, CALIBRATION, device=HOST)
    reference = logits(exported)
    order = np.argsort(reference, axis=1)
    near_ties = order[:, -1].astype(np.int64)
    strict = quantise_mixed(quantiser, exported, IMAGES, near_ties, max_loss=0.0, runtime=RUNTIME)
    assert strict is None or strict.loss <= 0
    with pytest.raises(NuwaError, match="0 or more"):
        quantise_mixed(quantiser, exported, IMAGES, near_ties, max_loss=float("nan"), runtime=RUNTIME)


def right_of(share: float) -> ClassScores:
    """Scores of 50 images of one class, so many of them right."""
    right = round(50 * share)
    return ClassScores(((right, 50 - right), (0, 0)), (True,) * right + (False,) * (50 - right))


def test_a_rare_class_is_not_given_up_for_int8_where_classes_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """99 images of one class stay right, the only one of the other goes wrong: 1 % of top1, half of the balanced."""
    labels = np.asarray([0] * 99 + [1], dtype=np.int64)
    before, after = np.eye(2, dtype=np.float32)[labels], np.eye(2, dtype=np.float32)[np.zeros(100, dtype=np.int64)]
    exported = export()
    monkeypatch.setattr(mixed, "block_sensitivities", lambda *_, **__: (BlockSensitivity(0, 1.0, 0.99),))
    monkeypatch.setattr(mixed, "_logits", lambda model, *_: before if model is exported else after)
    quantiser = Int8Quantiser(exported, CALIBRATION, device=HOST)

    def found(metric: Metric) -> MixedModel | None:
        return quantise_mixed(quantiser, exported, IMAGES, labels, max_loss=0.02, runtime=RUNTIME, metric=metric)

    by_top1 = found("top1")
    assert by_top1 is not None
    assert by_top1.loss == pytest.approx(0.01)
    assert found("balanced") is None
    told = decide_int8(exported, None, StandInDevice(10), max_loss=0.02, metric="balanced")
    assert "2.0 points of balanced accuracy" in told.reason


class StandInDevice:
    """Answers latencies from a list, in the order of the calls."""

    spec = HOST

    def __init__(self, *latencies_ms: float) -> None:
        self._next: Iterator[float] = iter(latencies_ms)

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        return make_measurement(next(self._next), device=HOST)


@pytest.mark.parametrize(
    ("latencies_ms", "is_accepted", "ratio"),
    [
        ((10, 5, 12, 6, 10, 5), True, 0.5),
        ((10, 11, 10, 11, 10, 11), False, 1.1),
        ((10, 9, 10, 9, 10, 10.5), False, 0.9),
    ],
)
def test_int8_is_used_only_where_every_round_is_faster(
    latencies_ms: tuple[float, ...], is_accepted: bool, ratio: float
) -> None:
    device: Device = StandInDevice(*latencies_ms)
    found = MixedModel(export(), (2,), right_of(0.9), right_of(0.88), ())
    decision = decide_int8(export(), found, device, max_loss=0.03)
    assert decision.is_accepted is is_accepted
    assert decision.ratio == pytest.approx(ratio)
    for words in ("faster", f"{ratio:.2f}×", "2.0 points", "blocks 2 of the graph left in FP32"):
        assert words in decision.reason


def test_no_model_no_int8() -> None:
    decision = decide_int8(export(), None, StandInDevice(10), max_loss=0.01)
    assert not decision.is_accepted
    assert decision.after is None
    assert "1.0 points" in decision.reason


@pytest.mark.parametrize("compute_capability", ["5.3", "6.2"])
def test_boards_without_int8_are_refused_with_the_reason(compute_capability: str) -> None:
    board = dataclasses.replace(XAVIER, compute_capability=compute_capability, runtime_version="8.2.1")
    with pytest.raises(NuwaError, match="no native INT8"):
        Int8Quantiser(export(), CALIBRATION, device=board)


@pytest.mark.parametrize(
    ("exported", "calibration", "said"),
    [
        (onnx_from_vit(lively_model(ARCH), GraphOptions(opset=13, batch=4)), CALIBRATION, "head by head"),
        (
            onnx_from_vit(lively_model(ARCH), GraphOptions(opset=20, batch=4, precision="fp16")),
            CALIBRATION,
            "found fp16",
        ),
        (export(), CALIBRATION[:6], "some batches"),
        (export(), CALIBRATION[:0], "some batches"),
        (export(), CALIBRATION[..., :12], "some batches"),
    ],
    ids=["opset", "fp16", "part of a batch", "none", "size"],
)
def test_what_does_not_fit_is_refused(exported: onnx.ModelProto, calibration: np.ndarray, said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        Int8Quantiser(exported, calibration, device=HOST)


def test_other_runtimes_and_blocks_are_refused() -> None:
    with pytest.raises(NuwaError, match="runs torch"):
        Int8Quantiser(export(), CALIBRATION, device=dataclasses.replace(HOST, runtime="torch"))
    with pytest.raises(NuwaError, match="no block 9"):
        Int8Quantiser(export(), CALIBRATION, device=HOST).quantise(blocks=[9])
