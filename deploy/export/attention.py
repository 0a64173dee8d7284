"""Explicit attention as ONNX nodes, in two layouts that compute the same."""

import numpy as np

from nuwa_search.core.arch import BlockSpec
from nuwa_search.deploy.export.folded import FloatArray, FoldedAttention, FoldedRotary
from nuwa_search.deploy.export.rotary import write_turned, write_turned_by_token
from nuwa_search.deploy.export.stream import Stream
from nuwa_search.deploy.export.writer import GraphWriter


def write_attention(
    g: GraphWriter,
    keys: Stream,
    queries: Stream,
    attn: FoldedAttention,
    block: BlockSpec,
    name: str,
    *,
    joint: bool,
) -> str:
    """Write attention without the residual sum: (B · N of ``queries``, C).

    Runtimes that cannot take a LayerNormalization node have no fused attention either: there each
    launch counts, and the layout without data movement is written. Newer ones, and INT8, get one Gemm
    for q, k and v.

    Args:
        g: Writer of the graph.
        keys: Normalised stream, source of keys and values.
        queries: The same, or some of its tokens where only those are needed after this block.
        attn: Its weights.
        block: Number of heads, and their widths.
        name: Prefix of the nodes.
        joint: Whether q, k and v come from one Gemm.
    """
    project = _joint_qkv if joint else _per_head_qkv
    q, k, v = project(g, keys, queries, attn, block, name)
    scores = g.node("MatMul", [q, k], f"{name}.scores")
    weights = g.node("Softmax", [scores], f"{name}.softmax", axis=-1)
    out = g.node("MatMul", [weights, v], f"{name}.values")
    by_token = g.transpose(out, _perm(keys, 1, 0, 2), f"{name}.by_token")
    joined = g.reshape(by_token, (queries.batch * queries.num_tokens, block.num_heads * block.v_dim), f"{name}.joined")
    return g.linear(joined, attn.proj_weight, attn.proj_bias, f"{name}.proj")


def _perm(x: Stream, *axes: int) -> tuple[int, ...]:
    """Permute the axes after the batch axis, if there is one."""
    return axes if not x.lead else (0, *(axis + 1 for axis in axes))


def _per_head_qkv(
    g: GraphWriter, keys: Stream, queries: Stream, attn: FoldedAttention, block: BlockSpec, name: str
) -> tuple[str, str, str]:
    """Project with weights (H, C, D), so that the products land in head layout: no split, no transpose.

    Only queries have a bias left, and keys that are turned. The transpose of the keys is read as a flag of the next
    product. Queries that are but some of the tokens are prefix tokens, which are not turned.
    """
    channels = attn.q_weight.shape[1]
    ones = (*keys.lead, 1)  # tokens are broadcast over the heads
    key_rows = query_rows = g.reshape(keys.name, (*ones, keys.num_tokens, channels), f"{name}.tokens")
    if queries != keys:
        query_rows = g.reshape(queries.name, (*ones, queries.num_tokens, channels), f"{name}.query_tokens")

    def project(tokens: str, weight: FloatArray, part: str, bias: FloatArray | None = None) -> str:
        by_head = np.ascontiguousarray(weight.reshape(block.num_heads, -1, channels).transpose(0, 2, 1))
        out = g.node("MatMul", [tokens, g.constant(f"{name}.{part}.weight", by_head)], f"{name}.{part}")
        if bias is None:
            return out
        shift = g.constant(f"{name}.{part}.bias", bias.reshape(block.num_heads, 1, -1))
        return g.node("Add", [out, shift], f"{name}.{part}_shifted")

    q = project(query_rows, attn.q_weight, "q", attn.q_bias)
    k = project(key_rows, attn.k_weight, "k", attn.k_bias)
    if attn.rotary is not None:
        rank = len(keys.lead) + 3
        if queries == keys:
            q = write_turned(g, q, attn.rotary, f"{name}.q", width=block.qk_dim, rank=rank)
        k = write_turned(g, k, attn.rotary, f"{name}.k", width=block.qk_dim, rank=rank)
    k = g.transpose(k, _perm(keys, 0, 2, 1), f"{name}.k_transposed")
    return q, k, project(key_rows, attn.v_weight, "v")


def _joint_qkv(
    g: GraphWriter, keys: Stream, queries: Stream, attn: FoldedAttention, block: BlockSpec, name: str
) -> tuple[str, str, str]:
    """Project q, k and v by one Gemm (or q by its own), split, and bring heads to the front."""
    num_q, num_v = block.num_heads * block.qk_dim, block.num_heads * block.v_dim
    q_bias, k_bias = (np.zeros(num_q, dtype=np.float32) if b is None else b for b in (attn.q_bias, attn.k_bias))
    kv_bias = np.concatenate([k_bias, np.zeros(num_v, dtype=np.float32)])
    if queries == keys:
        weight = np.concatenate([attn.q_weight, attn.k_weight, attn.v_weight])
        joint = g.linear(keys.name, weight, np.concatenate([q_bias, kv_bias]), f"{name}.qkv")
        if attn.rotary is None:
            q, k, v = g.split(joint, (num_q, num_q, num_v), f"{name}.split", axis=1)
        else:
            both, v = g.split(joint, (2 * num_q, num_v), f"{name}.split", axis=1)
            q, k = _turned_together(g, both, keys, attn.rotary, block, name)
    else:
        q = g.linear(queries.name, attn.q_weight, q_bias, f"{name}.query")
        joint = g.linear(keys.name, np.concatenate([attn.k_weight, attn.v_weight]), kv_bias, f"{name}.kv")
        k, v = g.split(joint, (num_q, num_v), f"{name}.split", axis=1)
        if attn.rotary is not None:  # queries are prefix tokens then, which are not turned
            heads = g.reshape(k, (*keys.lead, keys.num_tokens, block.num_heads, block.qk_dim), f"{name}.k_rows")
            k = write_turned_by_token(g, heads, attn.rotary, f"{name}.k", width=block.qk_dim)

    def by_head(tensor: str, part: str, num_tokens: int, dim: int, *axes: int) -> str:
        heads = g.reshape(tensor, (*keys.lead, num_tokens, block.num_heads, dim), f"{name}.{part}_heads")
        return g.transpose(heads, _perm(keys, *axes), f"{name}.{part}")

    return (
        by_head(q, "q", queries.num_tokens, block.qk_dim, 1, 0, 2),
        by_head(k, "k", keys.num_tokens, block.qk_dim, 1, 2, 0),
        by_head(v, "v", keys.num_tokens, block.v_dim, 1, 0, 2),
    )


def _turned_together(
    g: GraphWriter, both: str, tokens: Stream, rotary: FoldedRotary, block: BlockSpec, name: str
) -> list[str]:
    """Turn queries and keys in one go while they lie side by side: two of (…, N, H, qk_dim)."""
    heads = (*tokens.lead, tokens.num_tokens, 2 * block.num_heads, block.qk_dim)
    rows = g.reshape(both, heads, f"{name}.qk_heads")
    turned = write_turned_by_token(g, rows, rotary, f"{name}.qk", width=block.qk_dim, copies=2)
    return g.split(turned, (block.num_heads, block.num_heads), f"{name}.qk_split", axis=len(heads) - 2)
