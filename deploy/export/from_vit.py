"""Export a trained plain ViT."""

import onnx

from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.fold import fold_vit
from nuwa_search.deploy.export.folded import DEFAULT_STREAM_SCALE
from nuwa_search.deploy.export.graph import GraphOptions, check_options, model_from_folded


def onnx_from_vit(
    model: PlainViT, options: GraphOptions | None = None, *, stream_scale: float = DEFAULT_STREAM_SCALE
) -> onnx.ModelProto:
    """Write the ONNX graph of ``model`` directly, node by node.

    torch's exporter is not used: the maintained one writes opset 18 even when asked for 13, which is
    the newest that TensorRT 8.2 reads; and latency tables and candidates need an export in
    milliseconds. Writing the graph also allows exact folds that no exporter makes: scale, shift and
    centring of the norms, softmax scale, key and value biases, constants of the activation.

    Args:
        model: In FP32; not changed.
        options: How the graph is written; None for the defaults. Below opset 17 norms are decomposed, below 20 GELU is.
        stream_scale: Power of two on the residual stream that keeps FP16 norms from overflowing; see
            ``nuwa_search.deploy.export.stream_scale`` for one from statistics.

    Returns:
        A model with input ``images`` (B, in_chans, H, W) and output ``logits`` (B, num_classes) in FP32.

    Raises:
        NuwaError: If opset, batch, precision, labels or preprocessing do not fit.
    """
    options = options or GraphOptions()
    check_options(model.arch, options)
    inside = options.preprocess if options.input_kind != "normalised" else None
    folded = fold_vit(model, opset=options.opset, stream_scale=stream_scale, preprocess=inside)
    return model_from_folded(model.arch, folded, options)
