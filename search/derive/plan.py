"""All that is computed once per base and task before the first subnet is cut."""

from dataclasses import dataclass

import torch

from nuwa.cache import Cache
from nuwa.images import Preprocess
from nuwa.tensors import SplitTensors
from nuwa.vit import PlainViT
from search.derive.attention import factors_for, head_order, head_weights
from search.derive.branches import AttentionPlan
from search.derive.neurons import NeuronSolver, neuron_solver
from search.derive.options import DeriveOptions
from search.derive.statistics import Moments, collect_moments, spread_evenly


@dataclass(frozen=True)
class Plan:
    """Moments, factors and solvers, one per block; None where the block lacks the branch."""

    model: PlainViT
    moments: Moments
    attention: list[AttentionPlan | None]
    neurons: list[NeuronSolver | None]


@torch.no_grad()
def make_plan(
    model: PlainViT, train: SplitTensors, preprocess: Preprocess, *, cache: Cache | None, options: DeriveOptions
) -> Plan:
    """Take statistics of ``train`` and factorise every block."""
    moments = collect_moments(model, spread_evenly(train, options.num_images), preprocess)
    attention: list[AttentionPlan | None] = []
    neurons: list[NeuronSolver | None] = []
    for block, seen in zip(model.blocks, moments.blocks, strict=True):
        attn, mlp = block.attn, block.mlp
        attention.append(None)
        neurons.append(None)
        if attn is not None:
            weights = head_weights(attn)
            order = head_order(weights, seen, ranking=options.ranking, ridge=options.ridge)
            attention[-1] = AttentionPlan(weights, factors_for(options.svd, weights, seen), tuple(order), seen)
        if mlp is not None:
            neurons[-1] = neuron_solver(
                seen.hidden,
                mlp.fc2.weight,
                mlp.fc2.bias,
                ranking=options.ranking,
                ridge=options.ridge,
                incoming=mlp.fc1.weight,
            )
    return Plan(model, moments, attention, neurons)
