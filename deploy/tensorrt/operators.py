"""Check an ONNX graph against a TensorRT release before anything is copied to a board."""

from collections.abc import Iterator

import onnx

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.element_types import type_problems
from nuwa_search.deploy.tensorrt.loose_work import loose_work_problems, weight_only_problems
from nuwa_search.deploy.tensorrt.operator_lists import operator_since, parser_operators
from nuwa_search.deploy.tensorrt.refusals import check_opset
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_version_from_text

_DEFAULT_DOMAINS = ("", "ai.onnx")

# Which input must be known when the engine is built, by operator (restrictions column of the lists
# before TensorRT 9; opset 13 moved these from attributes to inputs).
_CONSTANT_INPUTS = {"Slice": (3,), "Squeeze": (1,), "Unsqueeze": (1,), "CumSum": (1,), "TopK": (1,)}

_SHOWN = 6  # nodes named in an error; a decomposition gone wrong repeats the same one per block


def check_operators(model: onnx.ModelProto, *, version: str) -> tuple[str, ...]:
    """Refuse a model that the ONNX parser of ``version`` cannot read.

    Args:
        model: Static shapes; weights are not looked at.
        version: TensorRT version such as ``8.2.1``.

    Returns:
        Warnings about types that the parser casts down by itself (INT64, DOUBLE).

    Raises:
        NuwaError: If the opset, an operator, a domain, an element type or a shape is not for this version, weights
            alone are in INT8, or work hangs on no input; every distinct cause is named with the first nodes that
            show it.
    """
    target = trt_version_from_text(version)
    check_opset(onnx_opset(model), version=version)
    problems = [
        *_unknown_operators(model, target),
        *_inputs_not_constant(model, target),
        *type_problems(model, target),
        *weight_only_problems(model),
        *loose_work_problems(model),
        *_dynamic_inputs(model),
    ]
    if problems:
        raise NuwaError(
            f"TensorRT {target} cannot take this model: " + "; ".join(problems),
            hint="export it with --device, which writes only what that device's parser reads; for a board with "
            "TensorRT 8.5, 9 or 10 that an earlier release registered: nuwa device rm NAME, then nuwa device add NAME",
        )
    return _cast_warnings(model, target)


def onnx_opset(model: onnx.ModelProto) -> int:
    """Read the opset of the default domain.

    Raises:
        NuwaError: If the model imports none.
    """
    for entry in model.opset_import:
        if entry.domain in _DEFAULT_DOMAINS:
            return int(entry.version)
    raise NuwaError("the ONNX model imports no opset of the default domain", hint="export it again")


def iterate_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Walk the nodes of a graph and of the graphs inside its If, Loop and Scan nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from iterate_nodes(attribute.g)
            for inner in attribute.graphs:
                yield from iterate_nodes(inner)


def _unknown_operators(model: onnx.ModelProto, version: TrtVersion) -> list[str]:
    known = parser_operators(version)
    found: dict[str, list[str]] = {}
    # Functions defined in the model are read from TensorRT 9 on; their bodies hold the operators.
    functions = {(f.domain, f.name) for f in model.functions} if version.major >= 9 else set()
    bodies = [node for f in model.functions for node in f.node] if functions else []
    for node in [*iterate_nodes(model.graph), *bodies]:
        if (node.domain, node.op_type) in functions:
            continue
        if node.domain not in _DEFAULT_DOMAINS:
            found.setdefault(f"{node.domain}::{node.op_type} (not an ONNX operator)", []).append(node.name)
        elif node.op_type not in known:
            since = operator_since(node.op_type)
            when = f"in the parser since {since}" if since else "in no parser up to 11"
            found.setdefault(f"{node.op_type} ({when})", []).append(node.name)
    return [f"no operator {cause}: {_shown(names)}" for cause, names in found.items()]


def _inputs_not_constant(model: onnx.ModelProto, version: TrtVersion) -> list[str]:
    if version.major >= 9:
        return []
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {out for node in model.graph.node if node.op_type == "Constant" for out in node.output}
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        for index in _CONSTANT_INPUTS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] and node.input[index] not in constants:
                found.setdefault(f"input {index} of {node.op_type} must be a constant", []).append(node.name)
    return [f"{cause}: {_shown(names)}" for cause, names in found.items()]


def _dynamic_inputs(model: onnx.ModelProto) -> list[str]:
    initialised = {tensor.name for tensor in model.graph.initializer}
    names = [
        value.name
        for value in model.graph.input
        if value.name not in initialised
        and not all(d.HasField("dim_value") and d.dim_value > 0 for d in value.type.tensor_type.shape.dim)
    ]
    return [f"inputs need static shapes: {_shown(names)}"] if names else []


def _cast_warnings(model: onnx.ModelProto, version: TrtVersion) -> tuple[str, ...]:
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {
        attribute.t.data_type
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    warnings = []
    if onnx.TensorProto.INT64 in types and version.major < 9:
        warnings.append("INT64 constants are cast down to INT32")
    if onnx.TensorProto.DOUBLE in types:
        warnings.append("DOUBLE constants are cast down to FLOAT")
    return tuple(warnings)


def _shown(names: list[str]) -> str:
    first = ", ".join(name or "(unnamed)" for name in names[:_SHOWN])
    return first if len(names) <= _SHOWN else f"{first} and {len(names) - _SHOWN} more"
