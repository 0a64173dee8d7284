"""All that is computed once per base and task before the first subnet is cut."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nuwa.cache import Cache
from nuwa.images import Preprocess
from nuwa.tensors import SplitTensors
from nuwa.vit import Attention, PlainViT
from search.derive.attention import factors_for, head_order, head_weights
from search.derive.branches import AttentionPlan
from search.derive.forward import branches_of
from search.derive.linalg import symmetric_roots
from search.derive.neurons import NeuronSolver, neuron_solver
from search.derive.options import DeriveOptions
from search.derive.rotation import principal_axes
from search.derive.sensitivity import collect_sensitivity, indifferent
from search.derive.statistics import Moments, collect_moments, spread_evenly


@dataclass(frozen=True)
class Plan:
    """Moments, and factors or solvers by branch index.

    Args:
        model: The base with the task's head, float32.
        moments: Of the task's images.
        attention: By branch index.
        neurons: By branch index.
        axes: Principal axes (C, C) of the residual stream, as columns.
        energy: Share of its energy (C,) on each.
    """

    model: PlainViT
    moments: Moments
    attention: dict[int, AttentionPlan]
    neurons: dict[int, NeuronSolver]
    axes: Tensor
    energy: Tensor

    @cached_property
    def order(self) -> dict[int, int]:
        """Place of each branch among those the model has."""
        return {branch.index: k for k, branch in enumerate(branches_of(self.model))}


def make_plan(
    model: PlainViT, train: SplitTensors, preprocess: Preprocess, *, cache: Cache | None, options: DeriveOptions
) -> Plan:
    """Take statistics of ``train`` and factorise every branch."""
    sense = indifferent(model)
    if options.sensitivity_images:
        sense = collect_sensitivity(model, spread_evenly(train, options.sensitivity_images), preprocess)
    reach = options.reach if options.depth_correction and options.least_squares else 0
    moments = collect_moments(
        model, spread_evenly(train, options.num_images), preprocess, token_weights=sense.tokens, reach=reach
    )
    return factorise_plan(model, moments, sense.metric, options)


@torch.no_grad()
def factorise_plan(model: PlainViT, moments: Moments, metric: Tensor, options: DeriveOptions) -> Plan:
    """Factorise every branch; ``metric`` (2L, C, C) says how errors count after each."""
    attention: dict[int, AttentionPlan] = {}
    neurons: dict[int, NeuronSolver] = {}
    for branch in branches_of(model):
        seen = moments.branches[branch.index]
        root = symmetric_roots(metric[branch.index])[0]
        if isinstance(branch.body, Attention):
            weights = head_weights(branch.body)
            order = head_order(weights, seen, root, ranking=options.ranking, ridge=options.ridge)
            factors = factors_for(options.svd, weights, seen, root)
            attention[branch.index] = AttentionPlan(weights, factors, tuple(order), seen)
        else:
            neurons[branch.index] = neuron_solver(seen, branch.body, root, ranking=options.ranking, ridge=options.ridge)
    axes, energy = principal_axes(moments.stream)
    return Plan(model, moments, attention, neurons, axes, energy)
