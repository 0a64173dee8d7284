"""Operator lists and the check of a graph against them."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.tensorrt.export_opset import export_opset
from nuwa_search.deploy.tensorrt.operator_lists import operator_since, parser_operators
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision
from nuwa_search.deploy.tensorrt.version import trt_features, trt_version_from_text
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS

RELEASES = ["8.0.1", "8.2.1", "8.4.1", "8.5.2", "8.6.1", "8.6.2", "10.0.1", "10.3.0", "10.15.0", "11.4.0"]


def make_model(
    *nodes: onnx.NodeProto,
    opset: int = 13,
    initializers: tuple[onnx.TensorProto, ...] = (),
    shape: tuple[int | str, ...] = (1, 4),
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info("y", kind, None)],
        list(initializers),
    )
    domains = sorted({node.domain for node in nodes} - {""})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports)


def test_lists_only_grow_and_hold_only_onnx_operators() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    # Kept by the parser from experimental and earlier opsets of ONNX.
    known |= {"ImageScaler", "ParametricSoftplus", "ScaledTanh", "Scatter", "Upsample"}
    before: frozenset[str] = frozenset()
    for release in RELEASES:
        operators = parser_operators(trt_version_from_text(release))
        assert before <= operators
        assert operators <= known, operators - known
        before = operators


@pytest.mark.parametrize("release", [*RELEASES, "8.3.0", "9.0.0", "9.2.0", "10.1.0", "10.14.0", "11.0.0"])
def test_what_is_exported_for_a_release_is_what_its_parser_takes(release: str) -> None:
    """The parser's opset and its operators do not move together: 8.5 and 10.0 to 10.14 read opsets ahead of theirs."""
    opset = export_opset(trt_version_from_text(release))
    assert opset <= trt_features(trt_version_from_text(release)).opset
    arch = Arch((BlockSpec(2, 4, 4, 16),), embed_dim=8, num_classes=3, img_size=8, patch_size=4)
    for act in ("gelu", "gelu_tanh"):
        net = dataclasses.replace(arch, act=act)
        check_operators(onnx_from_arch(net, opset=opset), version=release)
        if opset < trt_features(trt_version_from_text(release)).opset:  # no lower than it must be
            with pytest.raises(NuwaError, match="no operator"):
                check_operators(onnx_from_arch(net, opset=opset + 1), version=release)
    for spec in EMULATED_SPECS.values():
        if spec.runtime_version == release:
            assert spec.opset == opset


@pytest.mark.parametrize("name", ["LayerNormalization", "Gelu", "HardSwish", "Mod"])
def test_what_tensorrt_8_2_lacks(name: str) -> None:
    assert name not in parser_operators(trt_version_from_text("8.2.1"))
    with pytest.raises(NuwaError, match=f"{name} .in the parser since {operator_since(name)}.: n0"):
        check_operators(make_model(helper.make_node(name, ["x"], ["y"], "n0")), version="8.2.1")


def test_what_a_vit_at_opset_13_is_made_of_is_in_8_0_and_8_2() -> None:
    made_of = (
        "MatMul Gemm Softmax Erf ReduceMean Sub Pow Sqrt Div Mul Add Reshape Transpose Slice Gather Concat Conv "
        "Resize Split Squeeze"
    )
    for release in ("8.0.1", "8.2.1"):
        assert set(made_of.split()) <= parser_operators(trt_version_from_text(release))


def test_every_cause_is_named_once_with_its_first_nodes() -> None:
    nodes = [helper.make_node("Gelu", ["x"], [f"g{i}"], f"gelu{i}") for i in range(8)]
    nodes.append(helper.make_node("Fused", ["x"], ["y"], "odd", domain="com.microsoft"))
    with pytest.raises(NuwaError) as caught:
        check_operators(make_model(*nodes), version="8.2.1")
    assert "gelu0, gelu1, gelu2, gelu3, gelu4, gelu5 and 2 more" in caught.value.message
    assert "com.microsoft::Fused (not an ONNX operator): odd" in caught.value.message
    assert caught.value.hint


def test_operators_inside_branches_are_seen() -> None:
    branch = helper.make_graph(
        [helper.make_node("Mod", ["x", "x"], ["b"], "inner")],
        "b",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["x"], ["y"], "if", then_branch=branch, else_branch=branch)
    with pytest.raises(NuwaError, match="inner, inner"):
        check_operators(make_model(node), version="8.2.1")


def test_axes_that_are_computed_are_refused_before_tensorrt_9() -> None:
    nodes = (
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Unsqueeze", ["x", "s"], ["y"], "unsqueeze"),
    )
    with pytest.raises(NuwaError, match="input 1 of Unsqueeze must be a constant: unsqueeze"):
        check_operators(make_model(*nodes), version="8.2.1")
    check_operators(make_model(*nodes), version="10.15.0")
    axes = numpy_helper.from_array(np.array([0], np.int64), "s")
    check_operators(make_model(nodes[1], initializers=(axes,)), version="8.2.1")


@pytest.mark.parametrize("shape", [("batch", 4), (0, 4), (-1, 4)])
def test_shapes_must_be_static(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(NuwaError, match="static shapes: x"):
        check_operators(make_model(helper.make_node("Relu", ["x"], ["y"]), shape=shape), version="8.2.1")


def test_types_a_release_cannot_read_are_refused() -> None:
    model = make_model(helper.make_node("Relu", ["x"], ["y"]), kind=TensorProto.BFLOAT16)
    with pytest.raises(NuwaError, match="BFLOAT16 is read since TensorRT 9"):
        check_operators(model, version="8.6.1")
    check_operators(model, version="10.3.0")


def test_types_that_are_cast_down_are_said() -> None:
    wide = numpy_helper.from_array(np.array([1.0]), "w")
    index = numpy_helper.from_array(np.array([1]), "i")
    nodes = (helper.make_node("Reshape", ["x", "i"], ["h"]), helper.make_node("Add", ["h", "w"], ["y"]))
    model = make_model(*nodes, initializers=(wide, index))
    assert check_operators(model, version="8.2.1") == (
        "INT64 constants are cast down to INT32",
        "DOUBLE constants are cast down to FLOAT",
    )
    assert check_operators(model, version="10.3.0") == ("DOUBLE constants are cast down to FLOAT",)


class TestTypedPrecision:
    @staticmethod
    def model(weights: type[np.generic], *, quantized: bool = False) -> onnx.ModelProto:
        weight = numpy_helper.from_array(np.ones((4, 4), weights), "w")
        scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        if quantized:
            nodes.append(helper.make_node("QuantizeLinear", ["y", "s"], ["q"]))
        return make_model(*nodes, initializers=(weight, scale))

    @pytest.mark.parametrize(
        ("weights", "quantized", "precision", "version", "reason"),
        [
            (np.float32, False, "fp16", "11.0.0", "types alone"),
            (np.float16, False, "fp32", "11.0.0", "are FP16"),
            (np.float16, False, "fp32", "8.2.1", "are FP16"),
            (np.float32, False, "int8", "8.6.1", "no QuantizeLinear"),
            (np.float32, True, "fp16", "8.6.1", "compute in INT8"),
        ],
    )
    def test_another_precision_than_asked_for_is_refused(
        self, weights: type[np.generic], quantized: bool, precision: Precision, version: str, reason: str
    ) -> None:
        with pytest.raises(NuwaError, match=reason):
            check_typed_precision(self.model(weights, quantized=quantized), precision=precision, version=version)

    @pytest.mark.parametrize(
        ("weights", "quantized", "precision", "version"),
        [
            (np.float32, False, "fp16", "8.2.1"),
            (np.float32, False, "fp32", "11.0.0"),
            (np.float16, False, "fp16", "11.0.0"),
            (np.float16, False, "fp16", "8.6.1"),
            (np.float32, True, "int8", "11.0.0"),
        ],
    )
    def test_what_fits_passes(
        self, weights: type[np.generic], quantized: bool, precision: Precision, version: str
    ) -> None:
        check_typed_precision(self.model(weights, quantized=quantized), precision=precision, version=version)
