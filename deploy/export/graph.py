"""Put the whole ONNX model of a folded ViT together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from nuwa_search.core.arch import Arch, dict_from_arch
from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.version import __version__
from nuwa_search.deploy.export.attention import write_attention
from nuwa_search.deploy.export.folded import FoldedViT, is_stream_centred
from nuwa_search.deploy.export.layers import write_centring, write_mlp, write_norm
from nuwa_search.deploy.export.maps import write_labels, write_map
from nuwa_search.deploy.export.opsets import LAYER_NORM_OPSET, MAX_OPSET, MIN_OPSET
from nuwa_search.deploy.export.pool import write_pool
from nuwa_search.deploy.export.stream import Stream
from nuwa_search.deploy.export.writer import GraphWriter

INPUT_NAME = "images"
OUTPUT_NAME = "logits"

InputKind = Literal["normalised", "unit", "uint8"]
OutputKind = Literal["logits", "labels", "patch_logits"]


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is written; everything here changes the graph, nothing the function.

    Args:
        opset: Of the default domain, 13 to 24.
        precision: ``fp32``, or ``fp16`` for FP16 constants and arithmetic with FP32 input and output.
        batch: Images per inference; shapes are static.
        input_kind: ``normalised`` takes what ``Preprocess`` makes, ``unit`` FP32 values 0..1, ``uint8``
            bytes; normalisation then is inside the graph.
        preprocess: Written to the metadata; needed unless the input is normalised.
        labels: One name per output, or empty.
        metadata: Further entries for ``metadata_props``.
        trim_tokens: Whether the last attention computes only the tokens that are pooled, and what follows
            only those: the same logits for less work. Latency tables know whole blocks, so it is off
            unless asked for.
        has_weights: Whether large constants carry values; without, the graph can be timed by an emulator but not run.
        output_kind: Of a net that answers for patches: ``logits`` of every pixel (B, C, H, W), or ``labels``, the class
            of each (B, H, W), or ``patch_logits``, logits of every patch (B, P, C), which another machine goes on with.
        joint_qkv: Whether q, k and v come from one Gemm below opset 17 too, as INT8 needs; from 17 on they always do.
    """

    opset: int = MIN_OPSET
    precision: Precision = "fp32"
    batch: int = 1
    input_kind: InputKind = "normalised"
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    trim_tokens: bool = False
    has_weights: bool = True
    joint_qkv: bool = False
    output_kind: OutputKind = "logits"


def check_options(arch: Arch, options: GraphOptions) -> None:
    """Refuse what cannot be written.

    Raises:
        NuwaError: If opset, batch, precision, labels or preprocessing do not fit.
    """
    if not MIN_OPSET <= options.opset <= MAX_OPSET:
        raise NuwaError(
            f"export writes opsets {MIN_OPSET} to {MAX_OPSET}, found {options.opset}",
            hint="name a device with --device and its opset is chosen",
        )
    if options.batch < 1:
        raise NuwaError(f"export needs a batch of at least 1, found {options.batch}")
    if options.precision not in ("fp32", "fp16"):
        raise NuwaError(
            f"export writes fp32 and fp16 graphs, found {options.precision!r}",
            hint="INT8 is made from an fp32 graph and images for INT8 calibration",
        )
    if options.labels and len(options.labels) != arch.num_classes:
        raise NuwaError(f"{len(options.labels)} labels do not fit an arch with {arch.num_classes} classes")
    if options.output_kind != "logits" and not arch.is_dense:
        raise NuwaError(
            f"output {options.output_kind!r} is a map of classes, and this arch answers for whole images",
            hint="leave --output out",
        )
    if options.input_kind != "normalised" and options.preprocess is None:
        raise NuwaError(f"input {options.input_kind!r} needs the preprocessing that goes into the graph")


def model_from_folded(arch: Arch, vit: FoldedViT, options: GraphOptions) -> ModelProto:
    """Write the model: input ``images`` (B, in_chans, H, W), output ``logits`` (B, num_classes).

    A net that answers for patches gives ``logits`` (B, num_classes, H, W), ``labels`` (B, H, W), or
    ``patch_logits`` (B, num_patches, num_classes).

    Args:
        arch: Without entries of blocks that are gone.
        vit: Its tensors, folded for the same opset.
        options: How the graph is written.
    """
    dtype = np.float16 if options.precision == "fp16" else np.float32
    model = _empty_model(arch, options)
    g = GraphWriter(model.graph, opset=options.opset, dtype=dtype, has_weights=options.has_weights)
    stream = Stream(
        _write_embedding(g, _write_input(g, options), arch, vit, options.batch), options.batch, arch.num_tokens
    )
    trim_at = arch.trim_at if options.trim_tokens else None
    joint = options.joint_qkv or options.opset >= LAYER_NORM_OPSET
    for i in range(len(arch.blocks)):
        stream = _write_block(g, stream, arch, vit, i, is_trimmed=i == trim_at, joint=joint)
    answer = g.linear(write_pool(g, stream, arch, vit), vit.head_weight, vit.head_bias, "head")
    if options.output_kind == "patch_logits":
        answer = g.reshape(answer, (options.batch, arch.num_patches, arch.num_classes), "head.patches")
    elif arch.is_dense:
        answer = write_map(g, answer, arch, batch=options.batch)
    if options.output_kind == "labels":
        write_labels(g, answer)
    elif dtype is np.float16:
        g.node("Cast", [answer], "head.fp32", to=TensorProto.FLOAT)
    g.rename_output(options.output_kind)
    return model


def _write_block(
    g: GraphWriter,
    stream: Stream,
    arch: Arch,
    vit: FoldedViT,
    index: int,
    *,
    is_trimmed: bool,
    joint: bool,
) -> Stream:
    name, block, folded = f"blocks.{index}", arch.blocks[index], vit.blocks[index]
    x = stream
    if folded.attn is not None:
        normed = x.with_name(write_norm(g, x.name, arch, f"{name}.norm1", stream_scale=vit.stream_scale))
        queries = normed
        if is_trimmed:
            first, last = arch.pooled_tokens
            queries = normed.tokens(g, first, last, f"{name}.queries")
            x = x.tokens(g, first, last, f"{name}.kept")
        branch = write_attention(g, normed, queries, folded.attn, block, f"{name}.attn", joint=joint)
        x = x.with_name(g.node("Add", [x.name, branch], f"{name}.sum1"))
    if folded.mlp is not None:
        hidden = write_norm(g, x.name, arch, f"{name}.norm2", stream_scale=vit.stream_scale)
        branch = write_mlp(g, hidden, folded.mlp, arch.act, f"{name}.mlp")
        x = x.with_name(g.node("Add", [x.name, branch], f"{name}.sum2"))
    return x


def _write_input(g: GraphWriter, options: GraphOptions) -> str:
    x = INPUT_NAME
    if options.input_kind == "uint8" or g.dtype is np.float16:
        x = g.node("Cast", [x], "images.cast", to=g.elem_type)
    if options.input_kind == "uint8":
        x = g.node("Mul", [x, g.scalar(1 / 255)], "images.unit")
    return x


def _write_embedding(g: GraphWriter, x: str, arch: Arch, vit: FoldedViT, batch: int) -> str:
    """Cut into patches, add positions and prefix tokens: (B · N, C)."""
    c, p = arch.embed_dim, arch.patch_size
    weight = g.constant("patch_embed.weight", vit.patch_weight)
    grid = g.node("Conv", [x, weight], "patch_embed", kernel_shape=(p, p), strides=(p, p))
    patches = g.transpose(g.reshape(grid, (batch, c, arch.num_patches), "patches.flat"), (0, 2, 1), "patches")
    x = g.node("Add", [patches, g.constant("pos_embed.values", vit.pos_embed[None])], "pos_embed")
    if arch.num_prefix_tokens:
        prefix = np.repeat(vit.prefix_tokens[None], batch, axis=0)
        x = g.node("Concat", [g.constant("prefix_tokens.values", prefix), x], "prefix_tokens", axis=1)
    x = g.reshape(x, (batch * arch.num_tokens, c), "stream")
    if vit.pre_norm is not None:
        gain, shift = vit.pre_norm
        x = write_norm(g, x, arch, "norm_pre", stream_scale=vit.stream_scale)
        x = g.node("Mul", [x, g.constant("norm_pre.weight", gain)], "norm_pre.scaled")
        if shift is not None:
            x = g.node("Add", [x, g.constant("norm_pre.bias", shift)], "norm_pre.shifted")
        if is_stream_centred(arch):
            x = write_centring(g, x, "norm_pre.out")
    return x


def _empty_model(arch: Arch, options: GraphOptions) -> ModelProto:
    """Make the model around the nodes: opset, input, output, metadata."""
    shape = (options.batch, arch.in_chans, *sides_of(arch.img_size))
    in_type = TensorProto.UINT8 if options.input_kind == "uint8" else TensorProto.FLOAT
    opsets = [helper.make_opsetid("", options.opset)]
    model = ModelProto(
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="nuwa-search",
        producer_version=__version__,
        opset_import=opsets,
    )
    model.graph.name = f"vit_{arch.arch_id}"
    model.graph.input.append(_value(INPUT_NAME, in_type, shape))
    model.graph.output.append(_output(arch, options))
    props = {
        "nuwa.arch_id": arch.arch_id,
        "nuwa.arch": json.dumps(dict_from_arch(arch)),
        "nuwa.input": options.input_kind,
        **({"nuwa.output": options.output_kind} if arch.is_dense else {}),
        "nuwa.labels": json.dumps(list(options.labels), ensure_ascii=False),
        **({"nuwa.preprocess": json.dumps(asdict(options.preprocess))} if options.preprocess else {}),
        **options.metadata,
    }
    for key, value in props.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model


def _output(arch: Arch, options: GraphOptions) -> ValueInfoProto:
    side = sides_of(arch.img_size) if arch.is_dense else ()
    if options.output_kind == "patch_logits":
        return _value(options.output_kind, TensorProto.FLOAT, (options.batch, arch.num_patches, arch.num_classes))
    if options.output_kind == "labels":
        return _value(options.output_kind, TensorProto.INT32, (options.batch, *side))
    return _value(OUTPUT_NAME, TensorProto.FLOAT, (options.batch, arch.num_classes, *side))


def _value(name: str, elem_type: int, shape: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, list(shape))
