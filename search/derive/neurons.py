"""MLP widths: which hidden neurons stay, and the down projection solved again for them.

Source: NuWa (arXiv 2504.03118), step 3: W2'ᵀ = G_rr⁻¹ G_r: W2ᵀ from the Gram matrix G of the hidden activations.
Deviations: a constant is among the regressors (the bias is solved too), the ridge pulls towards the base's
weights, and neurons are ranked by what the others cannot replace. With L Lᵀ the Cholesky factor of the
regularised Gram matrix in ranking order, W2'ᵀ of every width r is L_rr⁻ᵀ times the first r rows of Lᵀ W2ᵀ:
one triangular solve per subnet.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from search.derive.linalg import regularised
from search.derive.options import NeuronRanking

SURGEON_STEP = 8
"""Neurons removed between two updates; widths are multiples of 8, and fewer steps cost less memory traffic."""


@dataclass(frozen=True)
class NeuronSolver:
    """Everything a block's MLP needs to be cut to any width.

    Args:
        order: (e,) neurons from most to least worth keeping.
        factor: (e+1, e+1) Cholesky factor of the regularised Gram matrix, the constant first, then ``order``.
        half: (e+1, C) = factorᵀ · [b2 | W2]ᵀ in the same order.
    """

    order: Tensor
    factor: Tensor
    half: Tensor

    def solve(self, width: int) -> tuple[Tensor, Tensor]:
        """Solve the down projection for the first ``width`` neurons: (C, width) and bias (C,), float64."""
        size = width + 1
        top = self.factor[:size, :size].double()
        solution = torch.linalg.solve_triangular(top.mT, self.half[:size].double(), upper=True)
        return solution[1:].mT, solution[0]

    def residual_energy(self, width: int) -> float:
        """Mean squared error of the branch's output with ``width`` neurons (ridge included)."""
        return float(self.half[width + 1 :].double().square().sum())


def neuron_solver(
    moment: Tensor, weight: Tensor, bias: Tensor, *, ranking: NeuronRanking, ridge: float, incoming: Tensor
) -> NeuronSolver:
    """Rank neurons and factorise once; every width is then one triangular solve.

    Args:
        moment: E[[h; 1] [h; 1]ᵀ] (e+1, e+1).
        weight: Down projection (C, e).
        bias: Its bias (C,).
        ranking: Criterion.
        ridge: Relative to the mean diagonal.
        incoming: Up projection (e, C), for ``magnitude``.
    """
    total = regularised(moment.double(), ridge)
    if ranking == "surgeon":
        order = surgeon_order(total, weight.double())
    else:
        order = _scores(moment.double(), weight.double(), incoming.double(), ranking).argsort(
            descending=True, stable=True
        )
    constant = torch.tensor([len(order)], device=order.device)
    places = torch.cat([constant, order])
    factor = torch.linalg.cholesky(total[places][:, places])
    full = torch.cat([bias.double()[:, None], weight.double()[:, order]], dim=1)
    return NeuronSolver(order, factor.float(), (factor.mT @ full.mT).float())


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
    (Optimal Brain Surgeon, Hassibi & Stork 1993, for a least-squares output). The cheapest ``step`` go at once.

    Args:
        total: Regularised Gram matrix with the constant last (e+1, e+1); positive definite.
        weight: Down projection (C, e).
        step: Neurons removed per update.

    Returns:
        (e,) indices, the last removed first.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(total))
    current = torch.cat([weight, weight.new_zeros(len(weight), 1)], dim=1)
    left = torch.arange(len(total), device=total.device)
    removed: list[Tensor] = []
    while len(left) > 1:
        cost = current[:, :-1].square().sum(dim=0) / inverse.diagonal()[:-1]
        count = min(step, len(left) - 1)
        chosen = cost.argsort(stable=True)[:count]
        removed.append(left[chosen])
        keep = torch.ones(len(left), dtype=torch.bool, device=left.device)
        keep[chosen] = False
        stay = keep.nonzero()[:, 0]
        pivot = inverse[chosen][:, chosen]
        bridge = torch.linalg.solve(pivot, inverse[chosen][:, stay])
        current = current[:, stay] - current[:, chosen] @ bridge
        inverse = inverse[stay][:, stay] - inverse[stay][:, chosen] @ bridge
        left = left[stay]
    return torch.cat(removed).flip(0)
