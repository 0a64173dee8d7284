"""All that is computed once per base and task before the first subnet is cut."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of
from nuwa_search.core.cache import Cache
from nuwa_search.core.even_choice import classes_in_turn, spread_evenly
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import Attention, Mlp, PlainViT
from nuwa_search.search.derive.attention import factors_for, head_order, head_weights, pairs_for
from nuwa_search.search.derive.branches import AttentionPlan
from nuwa_search.search.derive.forward import Branch, branches_of
from nuwa_search.search.derive.identity import DERIVATION
from nuwa_search.search.derive.linalg import symmetric_roots
from nuwa_search.search.derive.neurons import NeuronSolver, neuron_solver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.purify import learn_masks, purified
from nuwa_search.search.derive.rotation import principal_axes
from nuwa_search.search.derive.sensitivity import Sensitivity, collect_sensitivity, indifferent
from nuwa_search.search.derive.statistics import (
    ALL,
    Moments,
    Sampling,
    collect_moments,
)
from nuwa_search.search.derive.storage import images_key, model_key, stored_moments, stored_sensitivity, stored_solvers
from nuwa_search.search.precision import has_bf16_statistics

OnImages = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """Moments, and factors or solvers by branch index.

    Args:
        model: The base with the task's head, float32, in evaluation mode.
        moments: Moments of the task's images.
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


Made = TypeVar("Made")


class Run(Protocol):
    """Runs a piece of work somewhere and returns what it made."""

    def __call__(self, work: Callable[[], Made], /) -> Made: ...


def run_here(work: Callable[[], Made], /) -> Made:
    """Run it in this process."""
    return work()


def make_plan(
    model: PlainViT,
    train: SplitTensors,
    preprocess: Preprocess,
    *,
    cache: Cache | None,
    options: DeriveOptions,
    on_images: OnImages | None = None,
    run: Run = run_here,
) -> Plan:
    """Take statistics of ``train`` and factorise every branch, reading from ``cache`` what it has.

    Args:
        model: Base with the task's head, on the device to work on; not changed.
        train: Training images of the task.
        preprocess: Preprocessing of the base.
        cache: Where statistics and solvers are kept between runs; None computes them anew.
        options: Ingredients.
        on_images: Called with what is gathered, images done, and images in all; None for no calls.
        run: Where the images pass through the model; what comes of it is kept in ``cache`` here.
    """

    def told(what: str) -> Callable[[int, int], None] | None:
        return None if on_images is None else functools.partial(on_images, what)

    model = in_single(model)
    if options.purify_steps:
        masks = learn_masks(model, train, preprocess, steps=options.purify_steps, decay=options.purify_decay)
        model = purified(model, masks)
    reach = options.reach if options.depth_correction and options.least_squares else 0
    sampling = Sampling(options.moment_tokens, options.ranking_error, options.least_images)
    few = spread_evenly(train, options.sensitivity_images)
    many = (classes_in_turn if options.ranking_error else spread_evenly)(train, options.num_images)
    key: tuple[str, ...] = ("", "")
    if cache is not None:
        is_rounded = has_bf16_statistics(device_of(model), bf16=options.bf16)
        arithmetic = ("bf16",) if is_rounded else ()
        key = (DERIVATION, *arithmetic, model_key(model), images_key(few, preprocess))
    sense = indifferent(model)
    if options.sensitivity_images:
        sense = stored_sensitivity(
            cache,
            key,
            lambda: run(
                functools.partial(
                    collect_sensitivity, model, few, preprocess, bf16=options.bf16, on_images=told("sensitivity")
                )
            ),
        )
    sense = _moved(sense, next(model.parameters()).device)
    if cache is not None:
        told_reach = f"{bool(options.sensitivity_images)} {reach}"
        key = (*key, images_key(many, preprocess), told_reach if sampling == ALL else f"{told_reach} {sampling}")
    moments = stored_moments(
        cache,
        key,
        lambda: run(
            functools.partial(
                collect_moments,
                model,
                many,
                preprocess,
                token_weights=sense.tokens,
                reach=reach,
                sampling=sampling,
                bf16=options.bf16,
                on_images=told("statistics"),
            )
        ),
    ).to(next(model.parameters()).device)
    key = (*key, f"{options.ranking} {options.ridge!r}")
    return factorise_plan(model, moments, sense.metric, options, cache=cache, key=key)


def in_single(model: PlainViT) -> PlainViT:
    """Copy ``model`` to float32 in evaluation mode, unless it is already so."""
    if not model.training and all(p.dtype == torch.float32 for p in model.parameters()):
        return model
    return copy.deepcopy(model).float().eval()


def _moved(sense: Sensitivity, device: torch.device) -> Sensitivity:
    return Sensitivity(sense.metric.to(device), sense.tokens.to(device))


@torch.no_grad()
def factorise_plan(
    model: PlainViT,
    moments: Moments,
    metric: Tensor,
    options: DeriveOptions,
    *,
    cache: Cache | None = None,
    key: tuple[str, ...] = (),
) -> Plan:
    """Factorise every branch; ``metric`` (2L, C, C) says how errors count after each."""
    device = metric.device
    attention = {
        branch.index: _plan_attention(branch.body, branch, moments, metric, options)
        for branch in branches_of(model)
        if isinstance(branch.body, Attention)
    }

    def solvers() -> dict[int, NeuronSolver]:
        made = {}
        moments.read_second()
        for branch in branches_of(model):
            if isinstance(branch.body, Mlp):
                root = symmetric_roots(metric[branch.index])[0]
                seen = moments.branches[branch.index]
                made[branch.index] = neuron_solver(
                    seen, branch.body, root, ranking=options.ranking, ridge=options.ridge
                )
                seen.drop_second()  # at once, or both would be held for all blocks
        return made

    neurons = {i: solver.to(device) for i, solver in stored_solvers(cache, key, solvers).items()}
    for index in neurons:
        moments.branches[index].drop_second()
    moments.second = None  # nobody needs them any more, and what would read them cannot travel to other processes
    axes, energy = principal_axes(moments.stream)
    return Plan(model, moments, attention, neurons, axes, energy)


def _plan_attention(
    attn: Attention, branch: Branch, moments: Moments, metric: Tensor, options: DeriveOptions
) -> AttentionPlan:
    weights, seen = head_weights(attn), moments.branches[branch.index]
    root = symmetric_roots(metric[branch.index])[0]
    order = head_order(weights, seen, root, ranking=options.ranking, ridge=options.ridge)
    factors = factors_for(options.svd, weights, seen, root)
    if attn.rotary is not None:
        pairs = pairs_for(options.svd, weights, seen, ridge=options.ridge)
        factors = dataclasses.replace(factors, pairs=pairs)
    return AttentionPlan(factors, tuple(order), seen)
