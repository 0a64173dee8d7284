"""Small ONNX graphs built by hand, weights as shapes with zeros."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class GraphWriter:
    """Writes nodes one after another; every method returns the name of its output."""

    def __init__(self, shape: Sequence[int | str], *, opset: int = 13) -> None:
        self.shape = list(shape)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name))
        return name

    def ints(self, *values: int) -> str:
        name = f"i{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def add(self, op_type: str, *inputs: str, **attrs: int | str | list[int]) -> str:
        return self.split(op_type, *inputs, num_outputs=1, **attrs)[0]

    def split(self, op_type: str, *inputs: str, num_outputs: int, **attrs: int | str | list[int]) -> list[str]:
        outputs = [f"t{len(self.nodes)}_{i}" for i in range(num_outputs)]
        domain = str(attrs.pop("domain", ""))
        node = helper.make_node(op_type, list(inputs), outputs, name=f"{op_type}{len(self.nodes)}", domain=domain)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attrs.items())
        self.nodes.append(node)
        return outputs

    def conv(self, x: str, channels: tuple[int, int], *, kernel: int = 3, group: int = 1, stride: int = 1) -> str:
        weight = self.weight(channels[1], channels[0] // group, kernel, kernel)
        pads = [kernel // 2] * 4
        return self.add("Conv", x, weight, self.weight(channels[1]), group=group, pads=pads, strides=[stride] * 2)

    def linear(self, x: str, features: tuple[int, int]) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(*features)), self.weight(features[1]))

    def batch_norm(self, x: str, channels: int) -> str:
        return self.add("BatchNormalization", x, *(self.weight(channels) for _ in range(4)))

    def layer_norm(self, x: str, width: int) -> str:
        centred = self.add("Sub", x, self.add("ReduceMean", x, axes=[-1]))
        variance = self.add("ReduceMean", self.add("Pow", centred, self.weight(1)), axes=[-1])
        deviation = self.add("Sqrt", self.add("Add", variance, self.weight(1)))
        scaled = self.add("Mul", self.add("Div", centred, deviation), self.weight(width))
        return self.add("Add", scaled, self.weight(width))

    def gelu(self, x: str) -> str:
        erf = self.add("Erf", self.add("Div", x, self.weight(1)))
        gated = self.add("Mul", x, self.add("Add", erf, self.weight(1)))
        return self.add("Mul", gated, self.weight(1))

    def vit_block(self, x: str, *, tokens: int, heads: int, head_dim: int, mlp_width: int, batch: int = 1) -> str:
        width = heads * head_dim
        norm = self.layer_norm(x, width)
        split_shape = self.ints(batch, tokens, heads, head_dim)
        parts = []
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            part = self.add("Reshape", self.linear(norm, (width, width)), split_shape)
            parts.append(self.add("Transpose", part, perm=perm))
        scores = self.add("Mul", self.add("MatMul", parts[0], parts[1]), self.weight(1))
        values = self.add("MatMul", self.add("Softmax", scores, axis=-1), parts[2])
        joined = self.add("Reshape", self.add("Transpose", values, perm=[0, 2, 1, 3]), self.ints(batch, tokens, width))
        x = self.add("Add", x, self.linear(joined, (width, width)))
        hidden = self.gelu(self.linear(self.layer_norm(x, width), (width, mlp_width)))
        return self.add("Add", x, self.linear(hidden, (mlp_width, width)))

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "hand-made",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            initializer=self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])


def conv_model(
    channels: tuple[int, int] = (64, 64), *, size: int = 28, kernel: int = 3, group: int = 1, depth: int = 1
) -> onnx.ModelProto:
    """Chain ``depth`` convolutions with ReLU."""
    writer = GraphWriter((1, channels[0], size, size))
    x = "x"
    for index in range(depth):
        pair = channels if index == 0 else (channels[1], channels[1])
        x = writer.add("Relu", writer.conv(x, pair, kernel=kernel, group=group))
    return writer.model(x)


def vit_model(
    *,
    tokens: int = 197,
    heads: int = 3,
    head_dim: int = 64,
    mlp_width: int = 768,
    depth: int = 1,
    batch: int = 1,
) -> onnx.ModelProto:
    """Chain ``depth`` blocks over tokens (B, N, C)."""
    writer = GraphWriter((batch, tokens, heads * head_dim))
    x = "x"
    for _ in range(depth):
        x = writer.vit_block(x, tokens=tokens, heads=heads, head_dim=head_dim, mlp_width=mlp_width, batch=batch)
    return writer.model(x)


def qdq_model(*, is_quantised: bool = True) -> onnx.ModelProto:
    """Chain four 1×1 convolutions with ReLU, each reading activations and weights through Q/DQ pairs."""
    writer = GraphWriter((1, 256, 28, 28))

    def pair(name: str) -> str:
        if not is_quantised:
            return name
        zero = numpy_helper.from_array(np.zeros((), dtype=np.int8), f"z{len(writer.weights)}")
        writer.weights.append(zero)
        scale = writer.weight()
        whole = writer.add("QuantizeLinear", name, scale, zero.name)
        return writer.add("DequantizeLinear", whole, scale, zero.name)

    x = "x"
    for _ in range(4):
        weight = pair(writer.weight(256, 256, 1, 1))
        x = writer.add("Relu", writer.add("Conv", pair(x), weight, pads=[0] * 4, strides=[1] * 2))
    return writer.model(x)
