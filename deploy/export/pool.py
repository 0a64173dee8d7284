"""Pooling and the last norm as ONNX nodes."""

from nuwa_search.core.arch import Arch
from nuwa_search.deploy.export.folded import FoldedViT
from nuwa_search.deploy.export.layers import write_norm
from nuwa_search.deploy.export.stream import Stream
from nuwa_search.deploy.export.writer import GraphWriter


def write_pool(g: GraphWriter, x: Stream, arch: Arch, vit: FoldedViT) -> str:
    """Pool the stream to features (B, head_in_features), or (B · P, C) of patches.

    Only tokens that pooling reads are normalised.

    Args:
        g: Writer of the graph.
        x: Residual stream after the last block, with all tokens or with the pooled ones alone.
        arch: Shape of the model: pooling, last norm, tokens.
        vit: Folded weights; the scale of the stream is read from them.

    Returns:
        Name of the tensor of features.
    """
    first, last = arch.pooled_tokens
    if x.num_tokens == arch.num_tokens:  # otherwise only the pooled tokens are left
        x = x.tokens(g, first, last, "pool.tokens")
    is_mean_first = arch.global_pool == "avg" and arch.final_norm != "before_pool"
    if is_mean_first:
        x = _write_mean(g, x, arch.embed_dim)
    if arch.final_norm != "none":
        x = x.with_name(write_norm(g, x.name, arch, "norm", stream_scale=vit.stream_scale))
    if arch.global_pool == "avg" and not is_mean_first:
        x = _write_mean(g, x, arch.embed_dim)
    if arch.global_pool == "dist":
        return g.reshape(x.name, (x.batch, 2 * arch.embed_dim), "pool.joined")
    if arch.global_pool == "token_avg":
        token = x.tokens(g, 0, 1, "pool.token")
        patches = x.tokens(g, arch.num_prefix_tokens, arch.num_tokens, "pool.rest")
        mean = _write_mean(g, patches, arch.embed_dim)
        return g.node("Concat", [token.name, mean.name], "pool.joined", axis=1)
    return x.name


def _write_mean(g: GraphWriter, x: Stream, channels: int) -> Stream:
    by_image = g.reshape(x.name, (x.batch, x.num_tokens, channels), "pool.patches")
    return Stream(g.mean(by_image, 1, "pool.mean", keepdims=False), x.batch, 1)
