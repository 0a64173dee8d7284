"""Query and key widths under rotary positions: which pairs of channels of a head stay, and by how much they count.

A pair of channels turns as one, each by its own angle, so that pairs cannot be mixed as channels of other nets are; a
width is cut by leaving pairs out. A logit is the sum over pairs of the inner products of what they hold after turning.
With queries and keys taken as independent, the products of two pairs have the moment M_ab = Σ Q_ij K_ij over the
channels i of a and j of b, where Q and K are the second moments after turning (of keys around each image's mean, since
softmax ignores what all keys of an image share). Pairs then are regressors of the full logit: the one that the others
replace best goes first (Optimal Brain Surgeon, as for neurons), and those that stay are scaled by least squares. No
source; ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.search.derive.linalg import ridge_of


@dataclass(frozen=True)
class PairPlan:
    """Pairs of channels of all heads; any width is the leading part of the order.

    Args:
        order: (H, q / 2) pairs, the one to keep longest first.
        products: (H, q / 2, q / 2) second moments M of their products, regularised; None scales nothing.
    """

    order: Tensor
    products: Tensor | None

    def kept(self, heads: list[int], qk_dim: int) -> Tensor:
        """Pairs (len(heads), qk_dim / 2) that stay, ascending."""
        return self.order[heads, : qk_dim // 2].sort(dim=1).values

    def gains(self, heads: list[int], kept: Tensor) -> Tensor:
        """Factors (len(heads), qk_dim / 2) by which the products of the ``kept`` pairs count: 1 where all stay."""
        if self.products is None:
            return torch.ones(kept.shape, dtype=torch.float64, device=kept.device)
        rows = self.products[heads].gather(1, kept[..., None].expand(-1, -1, self.products.shape[2]))
        inner = rows.gather(2, kept[:, None, :].expand(-1, kept.shape[1], -1))
        found: Tensor = torch.linalg.solve(inner, rows.sum(dim=2))
        return found


def pair_plan(query: Tensor, key: Tensor, *, ridge: float) -> PairPlan:
    """Order the pairs of every head by what the others cannot replace.

    Args:
        query: (H, q, q) second moments of the turned queries.
        key: (H, q, q) likewise of the turned keys.
        ridge: Relative to the mean diagonal of each M.
    """
    products = pair_products(query, key)
    for head in products:
        head.diagonal().add_(ridge_of(head, ridge))
    inverse = torch.linalg.inv(products)
    gains = torch.ones(inverse.shape[:2], dtype=inverse.dtype, device=inverse.device)
    is_left = torch.ones_like(gains, dtype=torch.bool)
    rows = torch.arange(len(gains), device=gains.device)
    removed = []
    for _ in range(gains.shape[1]):
        cost = gains.square() / inverse.diagonal(dim1=1, dim2=2).clamp_min(1e-300)
        worst = torch.where(is_left, cost, torch.inf).argmin(dim=1)
        removed.append(worst)
        is_left[rows, worst] = False
        column = inverse[rows, :, worst]
        pivot = column[rows, worst].clamp_min(1e-300)
        gains = gains - column * (gains[rows, worst] / pivot)[:, None]
        inverse = inverse - column[:, :, None] * column[:, None, :] / pivot[:, None, None]
    return PairPlan(torch.stack(removed[::-1], dim=1), products)


def pair_products(query: Tensor, key: Tensor) -> Tensor:
    """Second moments (H, q / 2, q / 2) of the products of pairs; channel c is paired with c + q / 2."""
    both = query.double() * key.double()
    half = both.shape[1] // 2
    return both.reshape(len(both), 2, half, 2, half).sum(dim=(1, 3))


def pairs_by_norm(query: Tensor, key: Tensor) -> PairPlan:
    """Order pairs by the product of their weights' norms: what plain deletion keeps.

    Args:
        query: (H, q, C) weights.
        key: (H, q, C) likewise.
    """
    half = query.shape[1] // 2
    norms = [w.square().sum(dim=2).reshape(len(w), 2, half).sum(dim=1) for w in (query, key)]
    return PairPlan((norms[0] * norms[1]).argsort(dim=1, descending=True, stable=True), None)


def channels_of(pairs: Tensor, whole: int) -> Tensor:
    """Channels (H, q') of a head of ``whole`` channels that make up ``pairs`` (H, q' / 2), first halves first."""
    return torch.cat([pairs, pairs + whole // 2], dim=1)
