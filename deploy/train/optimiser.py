"""AdamW with timm's parameter groups, and timm's cosine schedule with warm-up."""

from collections.abc import Iterator
from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from nuwa_search.deploy.train.recipe import Recipe

NO_DECAY = ("*prefix_tokens", "*pos_embed", "*cls_token", "*dist_token", "*reg_token")
"""Tokens and positions: learned inputs, which timm's ViTs exclude from weight decay as well."""
LEAST_RMS = 1e-3
"""Root mean square that a tensor counts as having at least, so that biases of zero can move: Adafactor's."""
FINAL_LR_FRACTION = 0.01
"""Of the peak at the end of the cosine; timm's training script ends near zero too."""


class _LayerView:
    """What timm's layer decay asks of a model: named parameters and an order of layers."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self._model.named_parameters()

    def group_matcher(self, *, coarse: bool = False) -> dict[str, object]:
        del coarse  # blocks are the only granularity
        return {"stem": r".*(?:patch_embed|prefix_tokens|pos_embed|cls_token|dist_token|reg_token|norm_pre)",
                "blocks": [(r".*blocks\.(\d+)", None), (r".*(?:^|\.)norm\.", (99999,))]}  # fmt: skip


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Build AdamW over the model's parameters; norms, biases, tokens and positions are not decayed.

    Steps of Adam are as long for small weights as for large ones. Where LayerScale is folded in they differ by a factor
    of a hundred from block to block (default base: root mean squares of 0.002 to 0.17), so with ``lr_of_rms`` each
    tensor's steps are in proportion to its own: the relative step sizes of Adafactor (arXiv 1804.04235, section 8), of
    the tensor as it was at the start.
    """
    if recipe.layer_decay < 1.0:
        groups = param_groups_layer_decay(
            _LayerView(model),
            weight_decay=recipe.weight_decay,
            no_weight_decay_list=NO_DECAY,
            layer_decay=recipe.layer_decay,
        )
    else:
        groups = param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=NO_DECAY)
    if recipe.lr_of_rms:
        groups = [one for group in groups for one in _by_size(group)]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def _by_size(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each tensor of a group its own, with a rate in proportion to its root mean square."""
    for values in group["params"]:
        rms = float(values.detach().float().square().mean().sqrt()) if values.numel() else 0.0
        yield group | {"params": [values], "lr_scale": group.get("lr_scale", 1.0) * max(rms, LEAST_RMS)}


def make_schedule(optimiser: torch.optim.Optimizer, recipe: Recipe) -> CosineLRScheduler:
    """Build linear warm-up and cosine decay over ``recipe.steps``; a pure function of the step."""
    warmup = min(recipe.warmup_steps, recipe.steps // 2)
    return CosineLRScheduler(
        optimiser,
        t_initial=max(recipe.steps - warmup, 2),  # timm warns of a cosine over one step
        lr_min=recipe.lr * FINAL_LR_FRACTION,
        warmup_t=warmup,
        warmup_lr_init=recipe.lr / (warmup + 1),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def set_lr(optimiser: torch.optim.Optimizer, schedule: CosineLRScheduler, *, step: int, factor: float) -> float:
    """Set the learning rate of a step in every parameter group.

    Args:
        optimiser: From ``make_optimiser``.
        schedule: From ``make_schedule``.
        step: Number of the step, from 0.
        factor: Scale on the scheduled rate; 1 leaves it.

    Returns:
        The learning rate without the groups' own scales.
    """
    schedule.step_update(step)
    for group in optimiser.param_groups:
        group["lr"] *= factor
    first = optimiser.param_groups[0]
    return float(first["lr"] / first.get("lr_scale", 1.0))
