"""Export a trained plain ViT."""

from collections.abc import Mapping, Sequence

import onnx

from nuwa_search.core.device import Precision
from nuwa_search.core.images import Preprocess
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.fold import fold_vit
from nuwa_search.deploy.export.folded import DEFAULT_STREAM_SCALE
from nuwa_search.deploy.export.graph import GraphOptions, InputKind, check_options, model_from_folded
from nuwa_search.deploy.export.opsets import MIN_OPSET


def onnx_from_vit(
    model: PlainViT,
    *,
    opset: int = MIN_OPSET,
    precision: Precision = "fp32",
    batch: int = 1,
    input_kind: InputKind = "normalised",
    preprocess: Preprocess | None = None,
    labels: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    stream_scale: float = DEFAULT_STREAM_SCALE,
    trim_tokens: bool = False,
    joint_qkv: bool = False,
) -> onnx.ModelProto:
    """Write the ONNX graph of ``model`` directly, node by node.

    torch's exporter is not used: the maintained one writes opset 18 even when asked for 13, which is
    the newest that TensorRT 8.2 reads; and latency tables and candidates need an export in
    milliseconds. Writing the graph also allows exact folds that no exporter makes: scale, shift and
    centring of the norms, softmax scale, key and value biases, constants of the activation.

    Args:
        model: In FP32; not changed.
        opset: 13 to 24. Below 17 norms are decomposed, below 20 GELU is.
        precision: ``fp16`` writes FP16 constants and arithmetic, with FP32 input and output.
        batch: Images per inference; shapes are static.
        input_kind: ``normalised``, or ``unit`` (FP32 0..1) or ``uint8`` with normalisation inside.
        preprocess: How images are made; goes to the metadata.
        labels: One name per output, or empty.
        metadata: Further entries for ``metadata_props``.
        stream_scale: Power of two on the residual stream that keeps FP16 norms from overflowing; see
            ``nuwa_search.deploy.export.stream_scale`` for one from statistics.
        trim_tokens: Compute only the pooled tokens from the last attention on; see ``GraphOptions``.
        joint_qkv: Whether q, k and v come from one Gemm in old opsets too; see ``GraphOptions``.

    Returns:
        A model with input ``images`` (B, in_chans, S, S) and output ``logits`` (B, num_classes) in FP32.

    Raises:
        NuwaError: If opset, batch, precision, labels or preprocessing do not fit.
    """
    options = GraphOptions(
        opset=opset,
        precision=precision,
        batch=batch,
        input_kind=input_kind,
        preprocess=preprocess,
        labels=tuple(labels),
        metadata=metadata or {},
        trim_tokens=trim_tokens,
        joint_qkv=joint_qkv,
    )
    check_options(model.arch, options)
    inside = preprocess if input_kind != "normalised" else None
    folded = fold_vit(model, opset=opset, stream_scale=stream_scale, preprocess=inside)
    return model_from_folded(model.arch, folded, options)
