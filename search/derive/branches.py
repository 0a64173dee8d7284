"""Cut one attention or MLP branch: from the base's weights and moments to the subnet's tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.vit import Attention, Mlp, Rotary
from nuwa_search.search.derive.attention import Factors, HeadWeights, head_weights
from nuwa_search.search.derive.linalg import solve_towards
from nuwa_search.search.derive.neurons import NeuronSolver
from nuwa_search.search.derive.pairs import PairPlan, channels_of
from nuwa_search.search.derive.statistics import BranchMoments

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class AttentionPlan:
    """What is known once per task about a block's attention; ``heads`` run from most to least worth keeping."""

    factors: Factors
    heads: tuple[int, ...]
    moments: BranchMoments


def cut_attention(
    attn: Attention, plan: AttentionPlan, spec: BlockSpec, *, ridge: float | None, ahead: Sequence[int] = ()
) -> Tensors:
    """Cut heads and their widths; names are those of ``attn``'s state dict, values float32.

    Widths that stay are copied, so keeping everything reproduces the base to the bit.

    Args:
        attn: The base's attention.
        plan: Its factors and head order.
        spec: What to keep; fits in the base's.
        ridge: Of the projection's least squares; None leaves the projection as the factors give it.
        ahead: Which following branches the projection shall make up for, 1 for the next.
    """
    weights, factors = head_weights(attn), plan.factors
    heads = sorted(plan.heads[: spec.num_heads])
    old_q, old_v = attn.qk_dim, attn.v_dim
    query, key, value = weights.query[heads], _with_key_bias(attn, weights)[heads], weights.value[heads]
    if spec.qk_dim < old_q and factors.pairs is not None:
        query, key = _cut_pairs(factors.pairs, query, key, heads, spec.qk_dim)
    elif spec.qk_dim < old_q:
        rows = slice(spec.qk_dim)
        scale = (spec.qk_dim / old_q) ** 0.5  # attention divides by sqrt(qk_dim), which has changed
        query = scale * (factors.query[heads, rows] @ query)
        key = factors.key[heads, rows] @ key
        key[..., -1] = 0.0
    mix = torch.eye(old_v, dtype=torch.float64, device=value.device).expand(len(heads), -1, -1)
    out = weights.out[:, heads]
    if spec.v_dim < old_v:
        mix = factors.value[heads, : spec.v_dim]
        value = mix @ value
        out = factors.out[:, heads, : spec.v_dim]
    both = torch.cat([part.flatten(0, 1) for part in (query, key, value)])
    projection = torch.cat([out.flatten(1), weights.out_bias[:, None]], dim=1)
    if ridge is not None and (ahead or spec.num_heads < attn.num_heads or spec.v_dim < old_v):
        projection = _solve_projection(plan.moments, weights, projection, mix, heads, ridge, ahead)
    tensors = {"qkv.weight": both[:, :-1], "proj.weight": projection[:, :-1], "proj.bias": projection[:, -1]}
    if attn.qkv.bias is not None:
        tensors["qkv.bias"] = both[:, -1]
    if attn.rotary is not None:
        tensors |= _cut_waves(attn.rotary, factors.pairs, heads, spec.qk_dim)
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}


def _cut_pairs(pairs: PairPlan, query: Tensor, key: Tensor, heads: list[int], qk_dim: int) -> tuple[Tensor, Tensor]:
    """Keep pairs of channels of queries and keys (heads, q, C+1), biases included: after turning they are no no-op."""
    kept = pairs.kept(heads, qk_dim)
    channels = channels_of(kept, query.shape[1])[..., None].expand(-1, -1, query.shape[2])
    scale = (qk_dim / query.shape[1]) ** 0.5 * pairs.gains(heads, kept).repeat(1, 2)
    return scale[..., None] * query.gather(1, channels), key.gather(1, channels)


def _cut_waves(rotary: Rotary, pairs: PairPlan | None, heads: list[int], qk_dim: int) -> Tensors:
    """Return the rotary waves that are part of a net's state: none where heads are whole."""
    whole = 2 * rotary.waves.shape[-2]
    waves = rotary.waves.expand(max(heads) + 1, -1, -1) if rotary.waves.ndim == 2 else rotary.waves
    if qk_dim == whole or pairs is None:
        return {} if rotary.is_whole else {"rotary.waves": waves[heads]}
    kept = pairs.kept(heads, qk_dim)[..., None].expand(-1, -1, 2)
    return {"rotary.waves": waves[heads].gather(1, kept)}


def _with_key_bias(attn: Attention, weights: HeadWeights) -> Tensor:
    H, q = attn.num_heads, attn.qk_dim
    bias = weights.key.new_zeros(H, q, 1)
    if attn.qkv.bias is not None:
        bias = attn.qkv.bias.detach().double()[H * q : 2 * H * q].reshape(H, q, 1)
    return torch.cat([weights.key, bias], dim=2)


def _solve_projection(
    moments: BranchMoments,
    weights: HeadWeights,
    prior: Tensor,
    mix: Tensor,
    heads: list[int],
    ridge: float,
    ahead: Sequence[int],
) -> Tensor:
    H, old_v = weights.value.shape[:2]
    width = mix.shape[1]
    cut = prior.new_zeros(len(heads) * width + 1, H * old_v + 1)
    for row, head in enumerate(heads):
        cut[row * width : (row + 1) * width, head * old_v : (head + 1) * old_v] = mix[row]
    cut[-1, -1] = 1.0
    full = torch.cat([weights.out.flatten(1), weights.out_bias[:, None]], dim=1)
    gram = moments.gram.double()
    wanted = full @ gram + sum(moments.ahead[step - 1].double().mT for step in ahead)
    return solve_towards(cut @ gram @ cut.mT, wanted @ cut.mT, prior, ridge)


def cut_mlp(mlp: Mlp, solver: NeuronSolver, width: int, *, least_squares: bool, ahead: Sequence[int] = ()) -> Tensors:
    """Keep ``width`` hidden neurons; names are those of ``mlp``'s state dict, values float32.

    Args:
        mlp: The base's MLP.
        solver: Its ranking of neurons and factors.
        width: Hidden neurons to keep.
        least_squares: Whether the down projection is solved again; False keeps the base's columns and bias.
        ahead: Which following branches the down projection makes up for, 1 for the next.
    """
    if width == mlp.fc1.out_features and not ahead:
        return {name: tensor.detach().float().clone() for name, tensor in mlp.state_dict().items()}
    kept = solver.order[:width]
    sort = kept.argsort()
    kept = kept[sort]
    if least_squares:
        weight, bias = solver.solve(width, ahead=ahead)
        weight = weight[:, sort]
    else:
        weight, bias = mlp.fc2.weight.detach()[:, kept], mlp.fc2.bias.detach()
    tensors = {
        "fc1.weight": mlp.fc1.weight.detach()[kept],
        "fc1.bias": mlp.fc1.bias.detach()[kept],
        "fc2.weight": weight,
        "fc2.bias": bias,
    }
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}
