"""Malformed inputs from valid ones, drawn by seed: values that are none, fields that are gone, bytes that were lost.

Nothing here is known to harm any parser: every input is a valid document with a few harmless changes.
"""

import json
import random
import struct
from typing import Any

import onnx

_BEYOND = "@beyond@"  # written as 1e999, which json.dumps cannot
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3.5, 10**9, 10**30, -(10**30), 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), _BEYOND),
    *("", "0", "nan", "x" * 5000, "../outside", "/etc/outside", "a/../../b", "a\0b", "é\u202e", "\ud800", "C:\\x"),
    *([], {}, [[]], [None], {"": None}, ["a"] * 200, [0.5] * 200),
)
_NESTED = (5, 40, 3000)
_FIELDS = (0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 10**9)


def mutated_json(rng: random.Random, document: bytes) -> bytes:
    """Change one to three places of a JSON document, or its bytes."""
    if rng.random() < 0.2:
        return mutated_bytes(rng, document)
    values = json.loads(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        values = _changed(rng, values)
    return _json_bytes(rng, values)


def _json_bytes(rng: random.Random, values: Any) -> bytes:
    text = json.dumps(values).replace(f'"{_BEYOND}"', rng.choice(("1e999", "-1e999")))
    kind = rng.random()
    if kind < 0.04:
        depth = rng.choice(_NESTED)
        text = text.replace("null", "[" * depth + "]" * depth)
    elif kind < 0.07 and text.startswith('{"'):
        text = f"{{{text[1 : text.index(':')]}: 1, {text[1:]}"  # a key that stands twice
    elif kind < 0.1:
        text = text.replace("0", "9" * rng.choice((50, 5000)), 1)
    return text.encode("utf-8", errors="surrogatepass")


def _changed(rng: random.Random, values: Any) -> Any:
    """Walk down to a random place and change what is there."""
    if isinstance(values, dict) and values and rng.random() < 0.85:
        key = rng.choice(sorted(values))
        what = rng.random()
        if what < 0.08:
            return {k: v for k, v in values.items() if k != key}
        if what < 0.12:
            return {**values, rng.choice(("surplus", "", "é")): rng.choice(_VALUES)}
        return {**values, key: _changed(rng, values[key])}
    if isinstance(values, list) and values and rng.random() < 0.85:
        place = rng.randrange(len(values))
        what = rng.random()
        if what < 0.08:
            return values[:place] + values[place + 1 :]
        if what < 0.12:
            return values * rng.choice((2, 20))
        return [*values[:place], _changed(rng, values[place]), *values[place + 1 :]]
    return rng.choice(_VALUES)


def mutated_bytes(rng: random.Random, document: bytes) -> bytes:
    """Cut, flip, move, repeat or overwrite a few bytes."""
    data = bytearray(document)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(data) + 1)
        length = rng.choice((1, 2, 8, 64))
        match rng.randrange(7):
            case 0:
                del data[place:]
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = rng.randbytes(length)
            case 3:
                data[place:place] = data[place : place + length] * rng.choice((1, 10))
            case 4 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 5:
                data[place : place + 8] = struct.pack("<Q", rng.choice(_FIELDS))
            case _:
                data[place : place + length] = bytes(length)
    return bytes(data)


def mutated_text(rng: random.Random, document: bytes) -> bytes:
    """Put other words and numbers into a document of lines, or lose some of its bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, document)
    lines = document.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(lines))
        words = ("1e999", "nan", "-inf", "9" * rng.choice((30, 5000)), "true", "", '"', "\0", "[" * 3000, "é", "1,2,3")
        word = rng.choice(words).encode()
        line = lines[place]
        match rng.randrange(5):
            case 0:
                del lines[place]
                lines = lines or [b""]
            case 1:
                lines.insert(place, line)
            case 2:
                lines[place] = word
            case _:
                parts = [k for k, c in enumerate(line) if c in b" ,=:"]
                at = rng.choice(parts) + 1 if parts else 0
                end = next((k for k in range(at, len(line)) if line[k : k + 1] in (b" ", b",", b"\n")), len(line))
                lines[place] = line[:at] + word + line[end:]
    return b"\n".join(lines)


def mutated_safetensors(rng: random.Random, document: bytes) -> bytes:
    """Change the header of a safetensors file and put the right length in front of it, or change its bytes."""
    if rng.random() < 0.4:
        return mutated_bytes(rng, document)
    (length,) = struct.unpack("<Q", document[:8])
    header = mutated_json(rng, document[8 : 8 + length])
    return struct.pack("<Q", len(header)) + header + document[8 + length :]


def mutated_onnx(rng: random.Random, document: bytes) -> bytes:
    """Change sizes, types, names, operators and attributes of a graph, or the bytes of the file."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, document)
    model = onnx.load_model_from_string(document)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_graph(rng, model)
    return bytes(model.SerializeToString())


def _change_graph(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = model.graph
    node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
    value = rng.choice([*graph.input, *graph.output])
    size = rng.choice((0, -1, 1, 3, 2**31, 2**62, 10**9))
    match rng.randrange(13):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = size
        case 1:
            tensor.data_type = rng.choice((0, 2, 7, 8, 10, 11, 16, 99))
        case 2:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        case 3:
            tensor.dims.append(size)
        case 4:
            value.type.tensor_type.elem_type = rng.choice((0, 2, 7, 8, 10, 11, 16, 99))
        case 5 if value.type.tensor_type.shape.dim:
            rng.choice(value.type.tensor_type.shape.dim).dim_value = size
        case 6 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(
                (graph.node[-1].output[0], "nowhere", "", tensor.name)
            )
        case 7:
            node.op_type = rng.choice(
                ("Conv", "Reshape", "Expand", "Tile", "Range", "If", "Nowhere", "Concat", "Einsum")
            )
        case 8:
            node.domain = rng.choice(("", "ai.onnx", "com.microsoft", "é"))
        case 9 if node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i = size
            attribute.type = rng.choice((1, 2, 3, 4, 6, 7))
        case 10:
            del graph.node[rng.randrange(len(graph.node))]
        case 11:
            model.opset_import[0].version = rng.choice((-1, 0, 1, 6, 13, 30, 2**40))
        case _:
            node.output[0] = rng.choice((graph.node[0].output[0], ""))
