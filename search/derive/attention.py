"""Query, key and value widths cut by SVD in the basis of the data or of the weights, and heads by their worth.

Source: NuWa (arXiv 2504.03118), step 2, which takes the SVD of the weight products alone. Deviations: key
biases are left out (they add the same to every logit of a query, which softmax ignores), products may be
weighed by the task's second moments, and heads are chosen too. Under rotary positions queries and keys lose pairs of
channels instead (``pairs``).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.vit import Attention
from nuwa_search.search.derive.linalg import regularised, solve_positive, symmetric_roots
from nuwa_search.search.derive.options import AttentionBasis, NeuronRanking
from nuwa_search.search.derive.pairs import PairPlan, pair_plan, pairs_by_norm
from nuwa_search.search.derive.statistics import BranchMoments


@dataclass(frozen=True)
class HeadWeights:
    """An attention's weights by head, biases as an extra column where they matter; float64.

    Args:
        query: (H, q, C+1) with the bias last.
        key: (H, q, C); its bias is a no-op.
        value: (H, v, C+1) with the bias last.
        out: (C, H, v).
        out_bias: (C,).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    out_bias: Tensor


@dataclass(frozen=True)
class Factors:
    """Singular bases of all heads: any width is the leading part of them.

    Args:
        query: (H, q, q); rows are the new query channels as mixtures of the old, best first.
        key: (H, q, q), likewise.
        value: (H, v, v), likewise.
        out: (C, H, v): the output map that belongs to the new value channels.
        qk_energy: (H, q) squared singular values of the (weighed) QK product, falling.
        vo_energy: (H, v) squared singular values of the (weighed) VO product, falling.
        pairs: Which pairs of query and key channels stay, where positions are rotary; ``query`` and ``key`` are then
            not used.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    qk_energy: Tensor
    vo_energy: Tensor
    pairs: PairPlan | None = None


def head_weights(attn: Attention) -> HeadWeights:
    """Split the weights of ``attn`` by head."""
    H, q, v = attn.num_heads, attn.qk_dim, attn.v_dim
    weight = attn.qkv.weight.detach().double()
    bias = attn.qkv.bias.detach().double() if attn.qkv.bias is not None else weight.new_zeros(len(weight))
    both = torch.cat([weight, bias[:, None]], dim=1)
    query, key, value = torch.split(both, [H * q, H * q, H * v])
    out = attn.proj.weight.detach().double()
    return HeadWeights(
        query=query.reshape(H, q, -1),
        key=key.reshape(H, q, -1)[..., :-1],
        value=value.reshape(H, v, -1),
        out=out.reshape(len(out), H, v),
        out_bias=attn.proj.bias.detach().double(),
    )


def factorise(weights: HeadWeights, moments: BranchMoments | None, metric_root: Tensor | None = None) -> Factors:
    """Take the SVD of every head's QK and VO products.

    Args:
        weights: Weights of the block's attention.
        moments: Weigh the products by these; None for the data-free SVD of the weights themselves.
        metric_root: Square root (C, C) of the metric in which errors of the output count; None for the identity.
    """
    if moments is None:
        query, key, value = (w @ w.mT for w in (weights.query, weights.key, weights.value))
    else:
        query, key, value = moments.query.double(), moments.key.double(), _value_covariance(weights, moments)
    to_query, to_key, qk_energy = _product_bases(query, key)
    root, inverse = symmetric_roots(value)
    out = weights.out.transpose(0, 1)  # (H, C, v)
    seen = out if metric_root is None else metric_root @ out
    _, sizes, right = torch.linalg.svd(seen @ root, full_matrices=False)
    scale = _safe_root(sizes)
    to_value = scale[..., None] * (right @ inverse)
    back = (out @ root) @ right.mT / scale[..., None, :]
    return Factors(to_query, to_key, to_value, back.transpose(0, 1), qk_energy, sizes.square())


def _product_bases(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Channel mixtures P, R (H, q, q) so that qᵀ Pᵀ[:r] R[:r] k is the best rank-r form of qᵀ k in the mean square."""
    query_root, query_inverse = symmetric_roots(query)
    key_root, key_inverse = symmetric_roots(key)
    left, sizes, right = torch.linalg.svd(query_root @ key_root)
    scale = _safe_root(sizes)[..., None]
    return scale * (left.mT @ query_inverse), scale * (right @ key_inverse), sizes.square()


def _safe_root(sizes: Tensor) -> Tensor:
    """Square root of singular values, 1 where they vanish: a null channel may have any scale."""
    floor = sizes[..., :1] * 1e-9
    return torch.where(sizes > floor, sizes.clamp_min(1e-150).sqrt(), 1.0)


def _value_covariance(weights: HeadWeights, moments: BranchMoments) -> Tensor:
    H, v = weights.value.shape[:2]
    gram = moments.gram.double()
    mean = gram[:-1, -1].reshape(H, v)
    blocks = gram[:-1, :-1].reshape(H, v, H, v).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    return blocks - mean[:, :, None] * mean[:, None, :]


def channel_choice(weights: HeadWeights) -> Factors:
    """Order channels by weight norm instead of by SVD: what plain deletion keeps."""
    qk = weights.query.norm(dim=2) * weights.key.norm(dim=2)
    vo = weights.value.norm(dim=2) * weights.out.norm(dim=0)
    pick_qk = torch.eye(qk.shape[1], dtype=torch.float64, device=qk.device)[qk.argsort(dim=1, descending=True)]
    vo_order = vo.argsort(dim=1, descending=True)
    pick_vo = torch.eye(vo.shape[1], dtype=torch.float64, device=qk.device)[vo_order]
    out = torch.einsum("chv,hwv->chw", weights.out, pick_vo)
    energy_qk = qk.sort(dim=1, descending=True).values.square()
    return Factors(pick_qk, pick_qk, pick_vo, out, energy_qk, vo.gather(1, vo_order).square())


def factors_for(basis: AttentionBasis, weights: HeadWeights, moments: BranchMoments, metric_root: Tensor) -> Factors:
    """Choose the channel bases that ``basis`` names.

    Args:
        basis: Name of the basis, as in ``DeriveOptions.svd``.
        weights: Weights of the block's attention, by head.
        moments: Moments of the attention branch; used by ``data`` only.
        metric_root: Square root (C, C) of the metric in which errors of the output count; used by ``data`` only.
    """
    if basis == "none":
        return channel_choice(weights)
    return factorise(weights, moments, metric_root) if basis == "data" else factorise(weights, None)


def pairs_for(basis: AttentionBasis, weights: HeadWeights, moments: BranchMoments, *, ridge: float) -> PairPlan:
    """Choose the pairs of turned channels by what ``basis`` names.

    Args:
        basis: Name of the basis, as in ``DeriveOptions.svd``.
        weights: Weights of the block's attention, by head; used unless ``basis`` is ``data``.
        moments: Moments of the attention branch; used by ``data`` only.
        ridge: Ridge relative to the mean diagonal of each matrix of pair moments.
    """
    if basis == "none":
        return pairs_by_norm(weights.query, weights.key)
    if basis == "data":
        return pair_plan(moments.query, moments.key, ridge=ridge)
    return pair_plan(weights.query @ weights.query.mT, weights.key @ weights.key.mT, ridge=ridge)


def head_order(
    weights: HeadWeights, moments: BranchMoments, metric_root: Tensor, *, ranking: NeuronRanking, ridge: float
) -> list[int]:
    """Order heads from most to least worth keeping: any number of heads is a leading part.

    ``surgeon`` drops, one after another, the head whose output the remaining ones replace best by least
    squares; ``magnitude`` ranks by the norm of VO; all others by the variance each head writes.

    Args:
        weights: Weights of the block's attention, by head.
        moments: Moments of the attention branch; ``magnitude`` ignores them.
        metric_root: Square root (C, C) of the metric in which errors of the output count.
        ranking: Criterion.
        ridge: Ridge relative to the mean diagonal of the Gram matrix; used by ``surgeon`` only.
    """
    H, v = weights.value.shape[:2]
    if ranking == "magnitude":
        product = torch.einsum("chv,hvd->hcd", weights.out, weights.value)
        return [int(h) for h in product.flatten(1).norm(dim=1).argsort(descending=True)]
    if ranking != "surgeon":
        covariance = _value_covariance(weights, moments)
        seen = torch.einsum("bc,chv->bhv", metric_root, weights.out)
        written = torch.einsum("chv,hvw,chw->h", seen, covariance, seen)
        return [int(h) for h in written.argsort(descending=True)]
    total = regularised(moments.gram.double(), ridge)
    target = metric_root @ weights.out.flatten(1)
    kept, dropped = list(range(H)), list[int]()
    while len(kept) > 1:
        explained = [_explained(total, target, [h for h in kept if h != out], v) for out in kept]
        worst = kept[max(range(len(kept)), key=explained.__getitem__)]
        kept.remove(worst)
        dropped.append(worst)
    return kept + dropped[::-1]


def _explained(total: Tensor, target: Tensor, heads: list[int], width: int) -> float:
    """Energy of target · context (both over all heads) that a solve on ``heads`` and the constant explains."""
    channels = torch.tensor([h * width + j for h in heads for j in range(width)] + [len(total) - 1])
    cross = total[channels][:, :-1] @ target.mT
    left = total[channels][:, channels]
    return float((cross * solve_positive(left, cross)).sum())
