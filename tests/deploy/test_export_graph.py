"""Shape of exported graphs: operators, names, constants, refusals, and the arch-only twin."""

import dataclasses
import json
import time
from typing import Any

import numpy as np
import onnx
import pytest

from nuwa_search.core.arch import Arch, BlockSpec, arch_from_dict
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.deploy.export.from_arch import chain_arch, onnx_from_arch
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.tensorrt.operator_lists import parser_operators
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.version import trt_version_from_text
from tests.deploy.export_families import FAMILIES, lively_model

VIT_TI_32 = Arch((BlockSpec(3, 64, 64, 768),) * 12, embed_dim=192, num_classes=100, img_size=32, patch_size=4)


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("family", FAMILIES)
def test_opset_13_stays_inside_tensorrt_8_2(family: str) -> None:
    exported = onnx_from_arch(FAMILIES[family])
    assert operators(exported) <= parser_operators(trt_version_from_text("8.2.1"))
    assert not operators(exported) & {"LayerNormalization", "Gelu", "Shape", "ConstantOfShape", "Mod", "Where"}
    check_operators(exported, version="8.2.1")
    assert exported.ir_version <= 7  # what ONNX 1.8, inside that parser, writes


def test_newer_opsets_use_their_operators() -> None:
    assert "LayerNormalization" in operators(onnx_from_arch(VIT_TI_32, opset=17))
    assert "Gelu" not in operators(onnx_from_arch(VIT_TI_32, opset=19))
    assert {"LayerNormalization", "Gelu"} <= operators(onnx_from_arch(VIT_TI_32, opset=20))


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_give_the_same_graph(family: str, opset: int) -> None:
    trained = onnx_from_vit(lively_model(FAMILIES[family]), GraphOptions(opset=opset, batch=2))
    random = onnx_from_arch(FAMILIES[family], opset=opset, batch=2)
    bare = onnx_from_arch(FAMILIES[family], opset=opset, batch=2, has_weights=False)
    assert list(trained.graph.node) == list(random.graph.node) == list(bare.graph.node)
    shapes = [[(t.name, tuple(t.dims), t.data_type) for t in m.graph.initializer] for m in (trained, random, bare)]
    assert shapes[0] == shapes[1] == shapes[2]


def test_names_shapes_and_metadata() -> None:
    arch = FAMILIES["token"]
    labels = tuple("abcdefg")
    preprocess = Preprocess(24, crop_pct=0.9)
    model = lively_model(arch)
    exported = onnx_from_vit(
        model, GraphOptions(batch=3, labels=labels, preprocess=preprocess, metadata={"task": "letters"})
    )
    (image,), (logits,) = exported.graph.input, exported.graph.output
    assert (image.name, logits.name) == ("images", "logits")
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [3, 3, 24, 24]
    assert [d.dim_value for d in logits.type.tensor_type.shape.dim] == [3, 7]
    props = {p.key: p.value for p in exported.metadata_props}
    assert props["nuwa.arch_id"] == arch.arch_id
    assert arch_from_dict(json.loads(props["nuwa.arch"])) == arch
    assert json.loads(props["nuwa.labels"]) == list(labels)
    assert Preprocess(**{**json.loads(props["nuwa.preprocess"])}).crop_pct == 0.9
    assert props["task"] == "letters"


def test_half_precision_graph_is_half_inside_and_float_outside() -> None:
    exported = onnx_from_vit(lively_model(FAMILIES["token"]), GraphOptions(precision="fp16"))
    onnx.checker.check_model(exported, full_check=True)
    kinds = {t.data_type for t in exported.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    ends = [*exported.graph.input, *exported.graph.output]
    assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("num_repeats", [0, 1, 4])
def test_chain_grows_by_one_block_at_a_time(num_repeats: int) -> None:
    block = BlockSpec(2, 8, 16, 32)
    counts = [
        len(onnx_from_arch(chain_arch(FAMILIES["token"], block, n)).graph.node) for n in (num_repeats, num_repeats + 1)
    ]
    one = len(onnx_from_arch(chain_arch(FAMILIES["token"], block, 1)).graph.node)
    none = len(onnx_from_arch(chain_arch(FAMILIES["token"], block, 0)).graph.node)
    assert counts[1] - counts[0] == one - none > 0


def test_weights_are_seeded_and_finite() -> None:
    same = onnx_from_arch(VIT_TI_32, seed=3).SerializeToString()
    assert same == onnx_from_arch(VIT_TI_32, seed=3).SerializeToString()
    assert same != onnx_from_arch(VIT_TI_32, seed=4).SerializeToString()
    for tensor in onnx_from_arch(FAMILIES["token"]).graph.initializer:
        assert np.isfinite(onnx.numpy_helper.to_array(tensor)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"opset": 12}, "opsets 13 to"),
        ({"opset": 99}, "opsets 13 to"),
        ({"batch": 0}, "batch"),
        ({"precision": "int8"}, "int8"),
        ({"labels": ("a",)}, "1 labels"),
        ({"input_kind": "uint8"}, "preprocessing"),
    ],
)
def test_refusals_name_the_cause(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        onnx_from_vit(lively_model(FAMILIES["no_blocks"]), GraphOptions(**wrong))


def test_an_export_for_a_latency_table_takes_milliseconds() -> None:
    onnx_from_arch(VIT_TI_32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        onnx_from_arch(dataclasses.replace(VIT_TI_32, num_classes=10))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # 8 ms where it was written; the slack is for busy machines
