"""Work of a graph that hangs on no input, and weights that are packed in INT8 on their own.

A time model counts nothing for either: what hangs on no input is folded away before anything is priced, and packed
weights look like shape arithmetic. So both are looked for in the graph as it was written, before any folding.
"""

import onnx

# What makes up the time of a net. Casts, transposes and reshapes of weights may stand in front of it: every exporter
# writes some, and each parser folds them.
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"})
_WORK = _PRODUCTS | _RANDOM | {"RandomUniformLike"}
_QUANTIZERS = ("QuantizeLinear", "DynamicQuantizeLinear")


def loose_work_problems(model: onnx.ModelProto) -> list[str]:
    """Return where a graph works without an input, or gives an output that hangs on none.

    Only the graph itself is looked at; graphs inside If, Loop and Scan see the tensors around them.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    if not inputs:
        return ["it has no input, and an engine without one cannot be run"]
    fed = set(inputs)
    loose: list[str] = []
    for node in model.graph.node:
        if any(name in fed for name in node.input) or _has_graph(node):
            fed.update(node.output)
        elif node.op_type in _WORK:
            loose.append(f"{node.op_type} {node.name or '(unnamed)'}")
    problems = []
    if loose:
        more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
        problems.append(f"{loose[0]}{more} hangs on no input, so that its time would not be counted: fold it first")
    dead = [value.name for value in model.graph.output if value.name not in fed]
    if dead:
        problems.append(f"output {dead[0]!r} hangs on no input")
    return problems


def weight_only_problems(model: onnx.ModelProto) -> list[str]:
    """Return where weights are stored in INT8 while activations are not quantised.

    TensorRT takes Q/DQ as pairs: a DequantizeLinear stands behind a QuantizeLinear, of weights as of activations,
    and weights alone are only taken in 4 bits (NVIDIA's developer guide, working with quantised types).
    """
    if any(node.op_type in _QUANTIZERS for node in model.graph.node):
        return []
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    packed = [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and kinds.get(node.input[0]) in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    ]
    if not packed:
        return []
    return [
        f"{len(packed)} weights are packed in INT8 and no activation is quantised (DequantizeLinear {packed[0]}): "
        "TensorRT takes INT8 only where both are"
    ]


def _has_graph(node: onnx.NodeProto) -> bool:
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)
