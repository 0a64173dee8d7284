"""Explicit attention as ONNX nodes, in two layouts that compute the same."""

import numpy as np

from deploy.export.folded import FloatArray, FoldedAttention
from deploy.export.layers import LAYER_NORM_OPSET
from deploy.export.writer import GraphWriter
from nuwa.arch import BlockSpec


def write_attention(
    g: GraphWriter, x: str, attn: FoldedAttention, block: BlockSpec, name: str, *, batch: int, num_tokens: int
) -> str:
    """Write attention over a normalised stream (B · N, C), without the residual sum.

    Runtimes that cannot take a LayerNormalization node have no fused attention either: there each
    launch counts, and the layout without data movement is written. Newer ones get one Gemm for
    q, k and v.

    Args:
        g: Where to.
        x: Tensor (B · N, C).
        attn: Its weights.
        block: Its widths.
        name: Prefix of the nodes.
        batch: B.
        num_tokens: N.
    """
    if g.opset < LAYER_NORM_OPSET:
        q, k, v = _per_head_qkv(g, x, attn, block, name, batch=batch, num_tokens=num_tokens)
    else:
        q, k, v = _joint_qkv(g, x, attn, block, name, batch=batch, num_tokens=num_tokens)
    scores = g.node("MatMul", [q, k], f"{name}.scores")
    weights = g.node("Softmax", [scores], f"{name}.softmax", axis=-1)
    out = g.node("MatMul", [weights, v], f"{name}.values")
    perm = (1, 0, 2) if _is_flat(batch) else (0, 2, 1, 3)
    by_token = g.transpose(out, perm, f"{name}.by_token")
    joined = g.reshape(by_token, (batch * num_tokens, block.num_heads * block.v_dim), f"{name}.joined")
    return g.linear(joined, attn.proj_weight, attn.proj_bias, f"{name}.proj")


def _is_flat(batch: int) -> bool:
    """Whether heads are (H, N, D): one image needs no batch axis."""
    return batch == 1


def _per_head_qkv(
    g: GraphWriter, x: str, attn: FoldedAttention, block: BlockSpec, name: str, *, batch: int, num_tokens: int
) -> tuple[str, str, str]:
    """Project with weights (H, C, D), so that the products land in head layout: no split, no transpose.

    Only queries have a bias left. The transpose of the keys is read as a flag of the next product.
    """
    channels = attn.q_weight.shape[1]
    lead = (1,) if _is_flat(batch) else (batch, 1)
    tokens = g.reshape(x, (*lead, num_tokens, channels), f"{name}.tokens")

    def project(weight: FloatArray, part: str) -> str:
        by_head = np.ascontiguousarray(weight.reshape(block.num_heads, -1, channels).transpose(0, 2, 1))
        return g.node("MatMul", [tokens, g.constant(f"{name}.{part}.weight", by_head)], f"{name}.{part}")

    q = project(attn.q_weight, "q")
    if attn.q_bias is not None:
        bias = g.constant(f"{name}.q.bias", attn.q_bias.reshape(block.num_heads, 1, block.qk_dim))
        q = g.node("Add", [q, bias], f"{name}.q_shifted")
    k = project(attn.k_weight, "k")
    perm = (0, 2, 1) if _is_flat(batch) else (0, 1, 3, 2)
    return q, g.transpose(k, perm, f"{name}.k_transposed"), project(attn.v_weight, "v")


def _joint_qkv(
    g: GraphWriter, x: str, attn: FoldedAttention, block: BlockSpec, name: str, *, batch: int, num_tokens: int
) -> tuple[str, str, str]:
    """Project q, k and v by one Gemm, split, and bring heads to the front."""
    heads, num_q, num_v = block.num_heads, block.num_heads * block.qk_dim, block.num_heads * block.v_dim
    weight = np.concatenate([attn.q_weight, attn.k_weight, attn.v_weight])
    bias = np.zeros(len(weight), dtype=np.float32)
    if attn.q_bias is not None:
        bias[:num_q] = attn.q_bias
    joint = g.linear(x, weight, bias, f"{name}.qkv")
    parts = g.split(joint, (num_q, num_q, num_v), f"{name}.split", axis=1)
    out = []
    for part, tensor, dim in zip("qkv", parts, (block.qk_dim, block.qk_dim, block.v_dim), strict=True):
        if _is_flat(batch):
            shape: tuple[int, ...] = (num_tokens, heads, dim)
            perm: tuple[int, ...] = (1, 2, 0) if part == "k" else (1, 0, 2)
        else:
            shape = (batch, num_tokens, heads, dim)
            perm = (0, 2, 3, 1) if part == "k" else (0, 2, 1, 3)
        out.append(g.transpose(g.reshape(tensor, shape, f"{name}.{part}_heads"), perm, f"{name}.{part}"))
    q, k, v = out
    return q, k, v
