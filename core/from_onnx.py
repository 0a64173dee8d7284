"""The plain ViT inside an ONNX export: its tensors found by name, its other facts read off the graph.

Exporters keep the names of biases, norms and tokens, but leave the transposed weights of linear layers nameless;
those are named after the node that multiplies by them (``/encoder/layer.0/…/query/MatMul``) or after the module
scope that torch's newer exporter writes into the node's metadata. Whatever hangs behind the last norm, such as a
decoder, is left out.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from nuwa_search.core.arch import Activation
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.from_roles import VitFacts, plain_from_roles, with_positions
from nuwa_search.core.img_size import ImgSize, img_size_of
from nuwa_search.core.onnx_file import load_weights_beside, parse_onnx, read_onnx_bytes
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.positions import resampled_positions
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_names import roles_from_names

AGREEMENT = 1e-3
"""Largest relative error of features between the graph and the plain ViT; the same function in FP32 has about 1e-6."""
_MAX_CHAIN = 16
"""Operators between a constant and what reads it; exporters write two."""
_MAX_SCOPES = 10_000
"""Characters of a node's scopes, which Python's parser reads; the longest seen have some hundreds."""
SCOPES = "pkg.torch.onnx.name_scopes"
_ACTS: tuple[tuple[str, Activation], ...] = (
    ("Erf", "gelu"),
    ("Gelu", "gelu"),
    ("Tanh", "gelu_tanh"),
    ("Sigmoid", "quick_gelu"),
    ("Relu", "relu"),
)
"""Operators by which exporters write each activation."""


@dataclass(frozen=True)
class ImportedViT:
    """What an ONNX file held.

    Args:
        model: The plain ViT at the size of its stored positions, without a head unless the graph has one.
        graph_size: Of the graph's own input image in pixels.
        relative_error: Of features after the last norm against the graph, with the graph's own positions.
        resampled_cosine: Mean cosine of the same features with the stored positions resampled as timm does; 1 where
            nothing is resampled.
        num_left_out: Named tensors of the graph that are not the ViT's, such as a decoder's.
    """

    model: PlainViT
    graph_size: ImgSize
    relative_error: float
    resampled_cosine: float
    num_left_out: int


def vit_from_onnx(path: Path) -> ImportedViT:
    """Find the plain ViT in an ONNX file and prove it against the graph on ONNX Runtime.

    Args:
        path: The file; the graph takes one image (batch, 3, H, W).

    Raises:
        NuwaError: If it cannot be read or holds no plain ViT; what is missing is named.
        NoAnswerError: If features of the ViT found do not agree with the graph's.
    """
    model = _read(path)
    try:
        return _found_in(model, path)
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError) as error:  # parts that do not fit
        if is_out_of_memory(error):
            raise
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NuwaError(
            f"{path} holds no plain ViT: its tensors do not fit together: {said[:300]}", hint="export it again"
        ) from error


def _found_in(model: onnx.ModelProto, path: Path) -> ImportedViT:
    graph = _Graph(model)
    named = graph.named_tensors()
    roles, strange = roles_from_names(named)
    probe = _probe(graph, roles, name=str(path))
    kept = {k: v for k, v in roles.items() if k not in ("positions", "cls", "registers", "dist")}
    own = kept | {"cls": probe.prefix, "positions": probe.positions}
    size = img_size_of(*probe.images.shape[2:])
    facts = [VitFacts(probe.num_heads, probe.norm_eps, act, img_size=size) for act in probe.acts]
    tried = [plain_from_roles(own, fact, name=str(path)) for fact in facts]
    errors = [_relative_error(candidate, probe) for candidate in tried]
    best = int(np.argmin(errors))
    if not errors[best] <= AGREEMENT:
        raise NoAnswerError(
            f"the ViT found in {path} does not compute what the graph does: relative error {errors[best]:.2g}",
            hint="only plain ViTs (ViT, DeiT, DINOv2) can be taken out of a graph",
        )
    stored = graph.stored_positions(probe)
    found, cosine = tried[best], 1.0
    if stored is not None:
        side = int(stored.shape[1] ** 0.5)
        resampled = with_positions(
            found, resampled_positions(stored, old=(side, side), new=found.arch.grid), img_size=found.arch.img_size
        )
        cosine = _cosine(resampled, probe)
        found = with_positions(found, stored, img_size=side * found.arch.patch_size)
    return ImportedViT(found, size, errors[best], cosine, len(strange))


def _read(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise NuwaError(f"there is no file {path}", hint="nuwa base import FILE.onnx -o DIR")
    model = parse_onnx(read_onnx_bytes(path), origin=str(path))
    load_weights_beside(model, path)
    return model


@dataclass(frozen=True)
class _Probe:
    """What one run of the graph tells.

    Args:
        images: (2, C, H, W) that went in.
        features: (2, N, C) after the last norm.
        prefix: (1, P, C) tokens before the patches, positions added.
        positions: (1, n, C) of the patches, as the graph has them at its own size.
        grid: Patches one below the other, and side by side.
        num_heads: From the first softmax.
        norm_eps: Of the first norm.
        acts: Candidates, likeliest first.
    """

    images: Tensor
    features: Tensor
    prefix: Tensor
    positions: Tensor
    grid: tuple[int, int]
    num_heads: int
    norm_eps: float
    acts: tuple[Activation, ...]


class _Graph:
    """An ONNX graph with its constants and who makes what."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.maker = {out: node for node in self.nodes for out in node.output}
        self.constants = {init.name: init for init in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t

    def value(self, name: str) -> np.ndarray | None:
        """Constant by name, through Identity, Transpose and Cast of constants; None where it is computed."""
        turns: list[NodeProto] = []
        while name not in self.constants:
            node = self.maker.get(name)
            if node is None or node.op_type not in ("Identity", "Transpose", "Cast") or len(turns) > _MAX_CHAIN:
                return None
            turns.append(node)
            name = node.input[0]
        found = np.asarray(numpy_helper.to_array(self.constants[name]))
        for node in reversed(turns):
            if node.op_type == "Transpose":
                found = found.transpose(next((list(a.ints) for a in node.attribute if a.name == "perm"), None))
        return found

    def named_tensors(self) -> dict[str, Tensor]:
        """Tensors by the name of the parameter they were: linear weights turned to (out, in)."""
        out = {name: _tensor(self.value(name)) for name in self.constants if self._is_parameter(name)}
        for node in self.nodes:
            if node.op_type not in ("MatMul", "Gemm"):
                continue
            weight = self.value(node.input[1])
            scope = _scope(node)
            if weight is None or weight.ndim != 2 or scope is None:
                continue
            is_turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
            out[f"{scope}.weight"] = _tensor(weight if is_turned else weight.T)
            if node.op_type == "Gemm" and len(node.input) > 2 and (bias := self.value(node.input[2])) is not None:
                out.setdefault(f"{scope}.bias", _tensor(bias))
        return out

    def _is_parameter(self, name: str) -> bool:
        tensor = self.constants[name]
        is_real = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        return is_real and "." in name and not name.startswith("/")  # a slash: a constant of the graph, no parameter

    def norm(self, weight: str) -> tuple[str, str, float] | None:
        """Input, output and epsilon of the layer norm whose scale is the constant ``weight``."""
        for node in self.nodes:
            if weight not in node.input:
                continue
            if node.op_type == "LayerNormalization":
                eps = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
                return node.input[0], node.output[0], float(eps)
            if node.op_type == "Mul":
                return self._decomposed(node, weight)
        return None

    def _decomposed(self, scaled: NodeProto, weight: str) -> tuple[str, str, float] | None:
        """Mul(Div(Sub(x, mean), Sqrt(Add(variance, eps))), weight), then Add: what opsets before 17 have."""
        ratio = self.maker.get(next(i for i in scaled.input if i != weight))
        if ratio is None or ratio.op_type != "Div":
            return None
        centred, root = self.maker.get(ratio.input[0]), self.maker.get(ratio.input[1])
        inner = self.maker.get(root.input[0]) if root is not None and root.op_type == "Sqrt" else None
        if centred is None or centred.op_type != "Sub" or inner is None or inner.op_type != "Add":
            return None
        eps = next((value for name in inner.input if (value := self.value(name)) is not None), None)
        after = next((n for n in self.nodes if scaled.output[0] in n.input and n.op_type == "Add"), None)
        if eps is None or after is None:
            return None
        return centred.input[0], after.output[0], float(eps)

    def stored_positions(self, probe: _Probe) -> Tensor | None:
        """Find the constant grid of positions that the graph resamples to its own size; None where it does not."""
        dim, here = probe.positions.shape[-1], probe.positions.shape[1]
        best: tuple[float, Tensor] | None = None
        for name, tensor in self.constants.items():
            shape = tuple(tensor.dims)
            if len(shape) != 3 or shape[0] != 1 or shape[2] != dim or shape[1] in (1, here):
                continue
            grid, new = _tensor(self.value(name)), probe.grid
            for lead in dict.fromkeys((0, probe.prefix.shape[1], 1)):
                side = int(max(0, shape[1] - lead) ** 0.5)
                if side < 2 or side * side != shape[1] - lead:
                    continue
                close = _flat_cosine(resampled_positions(grid[:, lead:], old=(side, side), new=new), probe.positions)
                if close > 0.9 and (best is None or close > best[0]):
                    best = (close, grid[:, lead:])
        return best[1] if best else None


def _scope(node: NodeProto) -> str | None:
    """Module path of a node: from torch's older names, or from the scopes its newer exporter writes."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), None)
    if scopes is not None:
        try:
            read = ast.literal_eval(scopes) if len(scopes) <= _MAX_SCOPES else ()
            path = [part for part in read if isinstance(part, str)]
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # what Python's parser raises
            return None
        return path[-2] if len(path) > 1 else None
    head, slash, _ = node.name.rpartition("/")
    return head.strip("/").replace("/", ".") if slash and head.strip("/") else None


def _probe(graph: _Graph, roles: Mapping[str, Tensor], *, name: str) -> _Probe:
    """Run the graph once with its inner tensors shown."""
    by_role: dict[str, str] = {}
    for constant in graph.constants:
        found = roles_from_names({constant: torch.empty(0)})[0]
        by_role |= dict.fromkeys(found, constant)
    first, last = by_role.get("blocks.0.norm1.weight"), by_role.get("norm.weight")
    if "patch.weight" not in roles or first is None or last is None:
        raise NuwaError(
            f"{name} holds no plain ViT: wanted a patch projection, norm1 of a first block and a last norm by name",
            hint="export the model with its parameter names, as torch.onnx.export does",
        )
    start, end = graph.norm(first), graph.norm(last)
    softmax = next((n for n in graph.nodes if n.op_type == "Softmax"), None)
    if start is None or end is None or softmax is None:
        raise NuwaError(f"{name} holds no plain ViT: its norms or its attention are written in an unknown way")
    images = _images(graph, name=name)
    shown = _run(graph, images, [start[0], end[1], softmax.output[0]], name=name)
    stream, features, weights = (_tensor(value) for value in shown)
    patch = F.conv2d(images, roles["patch.weight"].float(), roles.get("patch.bias"), stride=_patch(roles))
    patches = patch.flatten(2).transpose(1, 2)
    num_prefix = stream.shape[1] - patches.shape[1]
    rest = stream[:, num_prefix:] - patches
    if num_prefix < 0 or (rest[0] - rest[1]).abs().max() > AGREEMENT * stream.abs().max():
        raise NuwaError(f"{name} holds no plain ViT: what enters its first block is not patches plus positions")
    ops = {node.op_type for node in graph.nodes}
    acts = tuple(dict.fromkeys(act for op, act in _ACTS if op in ops))
    return _Probe(
        images,
        features,
        stream[:1, :num_prefix],
        rest[:1],
        (patch.shape[2], patch.shape[3]),
        weights.shape[1],
        float(f"{start[2]:.5g}"),  # written 1e-6, stored in FP32
        acts or ("gelu",),
    )


def _patch(roles: Mapping[str, Tensor]) -> int:
    return int(roles["patch.weight"].shape[-1])


def _images(graph: _Graph, *, name: str) -> Tensor:
    given = [i for i in graph.model.graph.input if i.name not in graph.constants]
    sizes = [d.dim_value for d in given[0].type.tensor_type.shape.dim] if len(given) == 1 else []
    if len(sizes) != 4 or not all(0 < side <= 4096 for side in sizes[2:]) or not 0 < sizes[1] <= 16:
        raise NuwaError(
            f"{name} takes {[i.name for i in given]} with sizes {sizes}, wanted one image (batch, 3, H, W)",
            hint="export it with a fixed image size",
        )
    return torch.randn(2, sizes[1], sizes[2], sizes[3], generator=torch.Generator().manual_seed(0))


def _run(graph: _Graph, images: Tensor, wanted: Iterable[str], *, name: str) -> list[np.ndarray]:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        feed = session.get_inputs()[0]
        if feed.shape[0] == 1:
            parts = [session.run(None, {feed.name: images[i : i + 1].numpy()}) for i in range(len(images))]
            return [np.concatenate(values) for values in zip(*parts, strict=True)]
        return list(session.run(None, {feed.name: images.numpy()}))
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        if is_out_of_memory(error):
            raise
        raise NuwaError(
            f"ONNX Runtime cannot run {name}: {(str(error).splitlines() or [type(error).__name__])[0]}",
            hint="export it again",
        ) from error


@torch.inference_mode()
def _features(model: PlainViT, images: Tensor) -> Tensor:
    out: Tensor = model.norm(model.forward_features(images))
    return out


def _relative_error(model: PlainViT, probe: _Probe) -> float:
    mine = _features(model, probe.images)
    return float((mine - probe.features).norm() / probe.features.norm().clamp_min(1e-12))


def _cosine(model: PlainViT, probe: _Probe) -> float:
    return float(F.cosine_similarity(_features(model, probe.images), probe.features, dim=-1).mean())


def _flat_cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def _tensor(value: np.ndarray | None) -> Tensor:
    if value is None:
        raise NuwaError("a tensor of the graph is not constant")
    return torch.from_numpy(np.array(value, dtype=np.float32))  # a copy: what ONNX hands out cannot be written
