"""MLP widths: which hidden neurons stay, and the down projection solved again for them.

Source: NuWa (arXiv 2504.03118), step 3: W2'ᵀ = G_rr⁻¹ G_r: W2ᵀ from the Gram matrix G of the hidden activations.
Deviations: a constant is among the regressors (the bias is solved too), the ridge pulls towards the base's
weights, and neurons are ranked by what the others cannot replace. With L Lᵀ the Cholesky factor of the
regularised Gram matrix in ranking order, W2'ᵀ of every width r is L_rr⁻ᵀ times the first r rows of Lᵀ W2ᵀ:
one triangular solve per subnet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.vit import Mlp
from nuwa_search.search.derive.linalg import regularised, steady_cholesky
from nuwa_search.search.derive.options import NeuronRanking
from nuwa_search.search.derive.statistics import BranchMoments

SURGEON_STEP = 8
"""Neurons removed between two updates; widths are multiples of 8, and fewer steps cost less memory traffic."""
CANDIDATES = 4
"""Candidates looked at per neuron removed; a neuron outside them is dearer than all of these."""


COMPACT_AT = 0.85
"""Share of rows still alive at which the matrices are copied without the dead ones: copies cost as much as updates."""


@dataclass(frozen=True)
class NeuronSolver:
    """Everything a block's MLP needs to be cut to any width.

    Args:
        order: (e,) neurons from most to least worth keeping.
        factor: (e+1, e+1) Cholesky factor L of the regularised Gram matrix, the constant first, then ``order``.
        half: (1 + reach, e+1, C): L⁻¹ E[[1; h] yᵀ] for the branch's own output y (ridge included), then for the
            outputs of the branches that follow.
        metric_root: (C, C) square root of the metric of errors.
    """

    order: Tensor
    factor: Tensor
    half: Tensor
    metric_root: Tensor

    def to(self, device: torch.device) -> "NeuronSolver":
        """Move everything."""
        return NeuronSolver(*(value.to(device) for value in vars(self).values()))

    def solve(self, width: int, *, ahead: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Solve the down projection for the first ``width`` neurons: (C, width) and bias (C,), float64.

        Args:
            width: Neurons kept.
            ahead: Which following branches it shall make up for, 1 for the next.
        """
        size = width + 1
        right = self.half[[0, *ahead], :size].double().sum(dim=0)
        top = self.factor[:size, :size].double()
        solution = torch.linalg.solve_triangular(top.mT, right, upper=True)
        return solution[1:].mT, solution[0]

    def lost(self, width: int) -> float:
        """Mean squared error of the branch's output in the metric, with ``width`` neurons (ridge included)."""
        return float((self.half[0, width + 1 :].double() @ self.metric_root.double()).square().sum())


def neuron_solver(
    moments: BranchMoments, mlp: Mlp, metric_root: Tensor, *, ranking: NeuronRanking, ridge: float
) -> NeuronSolver:
    """Rank neurons and factorise once; every width is then one triangular solve.

    Args:
        moments: Moments of the branch.
        mlp: The base's.
        metric_root: Square root (C, C) of the metric in which errors of the output count.
        ranking: Criterion.
        ridge: Relative to the mean diagonal of the Gram matrix.
    """
    total = regularised(moments.gram.double(), ridge)
    weight, bias = mlp.fc2.weight.detach().double(), mlp.fc2.bias.detach().double()
    seen = metric_root @ weight
    if ranking == "surgeon":
        order = surgeon_order(total, seen)
    else:
        scores = _scores(moments.gram.double(), seen, mlp.fc1.weight.detach().double(), ranking)
        order = scores.argsort(descending=True, stable=True)
    constant = torch.tensor([len(order)], device=order.device)
    places = torch.cat([constant, order])
    factor = steady_cholesky(total[places][:, places])
    full = torch.cat([bias[:, None], weight[:, order]], dim=1)
    ahead = torch.linalg.solve_triangular(factor, moments.ahead.double()[:, places], upper=False)
    half = torch.cat([(factor.mT @ full.mT)[None], ahead])
    return NeuronSolver(order, factor.float(), half.float(), metric_root.float())


def _scores(moment: Tensor, weight: Tensor, incoming: Tensor, ranking: NeuronRanking) -> Tensor:
    second, mean = moment.diagonal()[:-1], moment[:-1, -1]
    outgoing = weight.square().sum(dim=0)
    match ranking:
        case "activation":
            return mean
        case "variance":
            return (second - mean.square()) * outgoing
        case "magnitude":
            return incoming.square().sum(dim=1) * outgoing
        case _:
            return second * outgoing


def surgeon_order(total: Tensor, weight: Tensor, *, step: int = SURGEON_STEP) -> Tensor:
    """Order neurons by optimal brain surgeon: remove first what the remaining ones replace best.

    Removing neuron j and solving the rest again costs ‖w_j‖² / (G⁻¹)_jj, w being the current solution
    (Optimal Brain Surgeon, Hassibi & Stork 1993, for a least-squares output). The large update is done for ``step``
    neurons at once; which these are is decided one by one among the cheapest, or twins would go together.

    Args:
        total: Regularised Gram matrix with the constant last (e+1, e+1); positive definite.
        weight: Down projection (C, e).
        step: Neurons removed per update.

    Returns:
        (e,) indices, the last removed first.
    """
    inverse = torch.cholesky_inverse(steady_cholesky(total))
    current = torch.cat([weight, weight.new_zeros(len(weight), 1)], dim=1)
    left = torch.arange(len(total), device=total.device)
    alive = torch.ones(len(left), dtype=torch.bool, device=left.device)
    removed: list[Tensor] = []
    num_left = len(left)
    while num_left > 1:
        if num_left <= COMPACT_AT * len(left):
            stay = alive.nonzero()[:, 0]
            inverse, current, left, alive = inverse[stay][:, stay], current[:, stay], left[stay], alive[stay]
        chosen = _cheapest(inverse, current, alive, min(step, num_left - 1))
        removed.append(left[chosen])
        bridge = torch.linalg.solve(inverse[chosen][:, chosen], inverse[chosen])
        current.addmm_(current[:, chosen], bridge, alpha=-1)
        inverse.addmm_(inverse[:, chosen], bridge, alpha=-1)
        alive[chosen] = False
        num_left -= len(chosen)
    return torch.cat(removed).flip(0)


def _cheapest(inverse: Tensor, current: Tensor, alive: Tensor, count: int) -> Tensor:
    """Pick ``count`` neurons one after another, with exact updates among the cheapest candidates: places, in order.

    Those no longer ``alive`` have rows that are zero but for rounding, and are not looked at.
    """
    cost = current[:, :-1].square().sum(dim=0) / inverse.diagonal()[:-1]
    cost = torch.where(alive[:-1], cost, torch.inf)
    num_open = int(alive[:-1].sum())
    candidates = cost.argsort(stable=True)[: min(CANDIDATES * count, num_open)]
    small, weight = inverse[candidates][:, candidates].clone(), current[:, candidates].clone()
    open_ = torch.ones(len(candidates), dtype=torch.bool, device=candidates.device)
    picked = []
    for _ in range(count):
        cost = weight.square().sum(dim=0) / small.diagonal()
        place = int(torch.where(open_, cost, torch.inf).argmin())
        picked.append(place)
        open_[place] = False
        bridge = torch.where(open_, small[place] / small[place, place], 0.0)
        weight = weight - weight[:, place, None] * bridge
        small = small - torch.outer(small[:, place], bridge)
    return candidates[picked]
