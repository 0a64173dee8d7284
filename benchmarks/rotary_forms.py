"""Forms of rotary positions in an ONNX graph, timed on emulated boards: which one ``deploy/export/rotary.py`` writes.

One attention branch, q and k per head as below opset 17 (``per head``) or from one Gemm (``joint``), without rotation
and with the halves of each head swapped by slices, by a constant matrix, or by swapped copies of the projections.

    python -m benchmarks.rotary_forms      # writes benchmarks/results/rotary_forms.csv
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, helper

from nuwa_search.deploy.export.writer import GraphWriter
from nuwa_search.latency.emulator.boards import BOARDS
from nuwa_search.latency.emulator.timeline import emulate

Form = Literal["none", "slices", "matrix", "projections"]
RESULTS = Path(__file__).parent / "results" / "rotary_forms.csv"
COLUMNS = ("board", "layout", "opset", "heads", "head_dim", "tokens", "form", "emulated_ms")
SETTINGS = (("jetson-nano", False, 13), ("jetson-xavier-nx", True, 13), ("jetson-orin-nano", True, 17))
SHAPES = ((6, 64, 261), (6, 64, 149), (3, 64, 261), (6, 32, 261), (12, 64, 261))
"""Heads, their width and tokens: ViT-S at 256 and 192 pixels, cut ones, and ViT-B."""
BRANCHES = 4
"""In a row, so that the ends of the net weigh little."""


def rows() -> Iterator[tuple[str | int | float, ...]]:
    """Time every form at every shape and board in FP16."""
    for board, is_joint, opset in SETTINGS:
        for heads, width, tokens in SHAPES:
            for form in get_args(Form):
                model = attention_net(form, heads=heads, width=width, tokens=tokens, opset=opset, is_joint=is_joint)
                ms = emulate(model, BOARDS[board], precision="fp16").total_ms / BRANCHES
                layout = "joint" if is_joint else "per head"
                yield board, layout, opset, heads, width, tokens, form, round(ms, 4)


def attention_net(form: Form, *, heads: int, width: int, tokens: int, opset: int, is_joint: bool) -> ModelProto:
    """Write ``BRANCHES`` attention branches without norms; weights have shapes only."""
    size = 64 * heads
    opsets = [helper.make_opsetid("", opset)]
    model = ModelProto(ir_version=helper.find_min_ir_version_for(opsets), opset_import=opsets)
    model.graph.name = f"rotary_{form}"
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [tokens, size]))
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, [tokens, size]))
    g = GraphWriter(model.graph, opset=opset, has_weights=False)
    x = "x"
    for i in range(BRANCHES):
        name = f"branch{i}"
        normed = g.node("Relu", [x], f"{name}.norm")  # keeps the sum apart from the projections, as a norm does
        project = _joint if is_joint else _per_head
        q, k, v = project(g, normed, form, (heads, width, tokens, size), name)
        scores = g.node("MatMul", [q, g.transpose(k, (0, 2, 1), f"{name}.k_t")], f"{name}.scores")
        weights = g.node("Softmax", [scores], f"{name}.softmax", axis=-1)
        out = g.transpose(g.node("MatMul", [weights, v], f"{name}.values"), (1, 0, 2), f"{name}.by_token")
        joined = g.reshape(out, (tokens, heads * width), f"{name}.joined")
        branch = g.linear(joined, _zeros(size, heads * width), _zeros(size), f"{name}.proj")
        x = g.node("Add", [x, branch], f"{name}.sum")
    g.rename_output("out")
    return model


def _zeros(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros(shape, dtype=np.float32)


def _per_head(g: GraphWriter, x: str, form: Form, shape: tuple[int, int, int, int], name: str) -> tuple[str, str, str]:
    heads, width, tokens, size = shape
    rows = g.reshape(x, (1, tokens, size), f"{name}.rows")

    def project(part: str, *, has_bias: bool) -> str:
        out = g.node(
            "MatMul", [rows, g.constant(f"{name}.{part}.weight", _zeros(heads, size, width))], f"{name}.{part}"
        )
        bias = g.constant(f"{name}.{part}.bias", _zeros(heads, 1, width))
        return g.node("Add", [out, bias], f"{name}.{part}.shifted") if has_bias else out

    def turned(part: str) -> str:
        straight = project(part, has_bias=True)
        other = project(f"{part}_swapped", has_bias=True) if form == "projections" else ""
        return _turned(g, straight, other, form, (tokens, width), f"{name}.{part}")

    if form == "none":
        return project("q", has_bias=True), project("k", has_bias=False), project("v", has_bias=False)
    return turned("q"), turned("k"), project("v", has_bias=False)


def _joint(g: GraphWriter, x: str, form: Form, shape: tuple[int, int, int, int], name: str) -> tuple[str, str, str]:
    heads, width, tokens, size = shape
    part = heads * width

    def by_head(tensor: str, count: int, kind: str) -> str:
        split = g.reshape(tensor, (tokens, count, width), f"{name}.{kind}_heads")
        return g.transpose(split, (1, 0, 2), f"{name}.{kind}")

    sizes = {"none": (part, part, part), "projections": (2 * part, part, 2 * part)}.get(form, (2 * part, part))
    joint = g.linear(x, _zeros(sum(sizes), size), _zeros(sum(sizes)), f"{name}.qkv")
    parts = g.split(joint, sizes, f"{name}.split", axis=1)
    if form == "none":
        return by_head(parts[0], heads, "q"), by_head(parts[1], heads, "k"), by_head(parts[2], heads, "v")
    straight = g.reshape(parts[0], (tokens, 2 * heads, width), f"{name}.qk")
    other = g.reshape(parts[2], (tokens, 2 * heads, width), f"{name}.qk_swapped") if form == "projections" else ""
    both = _turned(g, straight, other, form, (tokens, 1, width), name)
    q, k = g.split(g.transpose(both, (1, 0, 2), f"{name}.qk_t"), (heads, heads), f"{name}.qk_split", axis=0)
    return q, k, by_head(parts[1], heads, "v")


def _turned(g: GraphWriter, x: str, other: str, form: Form, table: tuple[int, ...], name: str) -> str:
    width = table[-1]
    if form == "slices":
        first = g.rows(x, 0, width // 2, f"{name}.first", axis=2)
        second = g.rows(x, width // 2, width, f"{name}.second", axis=2)
        other = g.node("Concat", [second, first], f"{name}.swapped", axis=2)
    elif form == "matrix":
        other = g.node("MatMul", [x, g.constant(f"{name}.swap", _zeros(width, width))], f"{name}.swapped")
    cos, sin = (g.constant(f"{name}.{kind}", _zeros(*table)) for kind in ("cos", "sin"))
    straight = g.node("Mul", [x, cos], f"{name}.straight")
    return g.node("Add", [straight, g.node("Mul", [other, sin], f"{name}.crossed")], f"{name}.turned")


def main() -> None:
    """Write the table and print it."""
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows():
            writer.writerow(row)
            print(*row, sep="\t")


if __name__ == "__main__":
    main()
