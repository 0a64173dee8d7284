"""A model from outside is looked over before any other program sees it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.onnx_file import MAX_DEPTH, load_weights_beside, parse_onnx, read_onnx_bytes

Change = Callable[[onnx.ModelProto], object]


def small_model() -> onnx.ModelProto:
    """One Gemm: (1, 4) by (4, 2)."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], bytes(32), raw=True)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="head")
    graph = helper.make_graph([node], "g", [image], [logits], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def nested(model: onnx.ModelProto) -> None:
    for _ in range(MAX_DEPTH + 1):
        inner = onnx.GraphProto()
        inner.CopyFrom(model.graph)
        del model.graph.node[:]
        model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))


def expanded(model: onnx.ModelProto) -> None:
    """Ask for a tensor of 2^40 elements."""
    sides = helper.make_tensor("sides", TensorProto.INT64, [2], [2**20, 2**20])
    model.graph.initializer.append(sides)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sides"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.graph.initializer[0].dims.extend([10**9] * 2), "elements"),
        (lambda m: m.graph.initializer[0].dims.append(3), "needs 96 bytes or values, and holds 32"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 99), "no known type"),
        (lambda m: m.graph.initializer[0].dims.extend([1] * 20), "dimensions"),
        (lambda m: m.graph.initializer[0].float_data.append(1.0), "in a way that its type has not"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -7), "a side of -7"),
        (lambda m: setattr(m.opset_import[0], "version", 2**40), "opset"),
        (lambda m: m.graph.node.append(m.graph.node[0]), "made twice"),
        (lambda m: m.graph.node[0].attribute.add(name="transB", type=onnx.AttributeProto.FLOAT, i=1), "another type"),
        (nested, "deep"),
        (expanded, "at most 2147483648 are computed"),
    ],
)
def test_what_contradicts_itself_is_refused(change: Change, said: str) -> None:
    model = small_model()
    parse_onnx(model.SerializeToString(), origin="it")
    change(model)
    with pytest.raises(NuwaError, match=said):
        parse_onnx(model.SerializeToString(), origin="it")


def test_names_that_are_no_text_are_refused() -> None:
    """Protobuf gives them as bytes."""
    data = small_model().SerializeToString().replace(b"head", b"\xff\xfead")
    with pytest.raises(NuwaError, match="no text"):
        parse_onnx(data, origin="it")


def test_shapes_alone_and_typed_values_are_models_too() -> None:
    model = small_model()
    model.graph.initializer[0].ClearField("raw_data")
    parse_onnx(model.SerializeToString(), origin="it")
    for kind in (TensorProto.FLOAT16, TensorProto.INT4, TensorProto.DOUBLE, TensorProto.BOOL):
        model.graph.initializer.append(helper.make_tensor(f"k{kind}", kind, [3], [1, 0, 1]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([b"a", b"b"], dtype=object), "words"))
    parse_onnx(model.SerializeToString(), origin="it")


@pytest.mark.parametrize(("length", "said"), [("32", None), ("10000000000", "takes 32 bytes"), ("x", "takes 32 bytes")])
def test_weights_beside_a_model_are_as_long_as_they_say(length: str, said: str | None, tmp_path: Path) -> None:
    model = small_model()
    path, tensor = tmp_path / "m.onnx", model.graph.initializer[0]
    (tmp_path / "m.data").write_bytes(b"\x01" * 64)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "m.data"), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    found = parse_onnx(read_onnx_bytes(path), origin="it")
    if said is None:
        load_weights_beside(found, path)
        assert found.graph.initializer[0].raw_data == b"\x01" * 32
    else:
        with pytest.raises(NuwaError, match=said):
            load_weights_beside(found, path)
