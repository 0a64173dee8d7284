"""A fitted head on patch tokens, tuned by cross-entropy at a finer grid than the patches, the base frozen."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.counting import counted
from nuwa_search.core.tasks.label_maps import FINE, class_shares, upsampled
from nuwa_search.core.tasks.pixel_weights import pixel_weights

TUNED_RARITIES = (0.0, 0.25)
"""Powers of rarity that heads are tuned with, each from the regression of the same power. On the magnetic tiles
(default base, 303 training images, 300 steps) 0, 0.25 and 0.5 came to an mIoU of 51.6, 50.1 and 45.0 % on the search
split, and the regression alone to 48.5 %."""
STEPS = 300
EPOCHS = 30
BATCH = 32
LR = 1e-2
"""Adam's, falling to nothing as a cosine does; 3e-3 and 3e-2 ended within a point of it."""
KEPT_VALUES = 250_000_000
"""Numbers of patch tokens that are kept to tune on, 500 MB in 16 bits: 2 500 images of 256 tokens of 384."""
FIRST_SCALES = torch.logspace(0, 2, 21)
"""Factors tried on a regression's scores, which lie near 0..1, before they are tuned."""


def num_tuned_on(num_images: int, *, num_patches: int, width: int) -> int:
    """Return on how many images' tokens (P, F) a head is tuned."""
    return max(1, min(num_images, KEPT_VALUES // (num_patches * width)))


def tuned_head(
    weight: Tensor,
    bias: Tensor,
    *,
    tokens: Tensor,
    grid: tuple[int, int],
    masks: Tensor,
    rarity: float,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Tune a linear head on frozen tokens: weight (C, F) and bias (C,), double.

    Scores are scaled up linearly, as the net's answers are, and held against the classes' shares of ``FINE`` cells
    along a side of each patch: where in a patch a thin class lies is what the scaling must learn.

    Args:
        weight: (C, F) of a regression.
        bias: (C,) of it.
        tokens: (N, P, F) of the training images, in any precision.
        grid: Patches one below the other, and side by side.
        masks: (N, H, W) uint8, theirs.
        rarity: Power of its class's share of the pixels that a pixel's weight is divided by.
        seed: Of the order of images.
    """
    num_classes, fine = len(bias), (FINE * grid[0], FINE * grid[1])
    weights = pixel_weights(masks, num_classes, rarity)
    parts = [class_shares(part, num_classes=num_classes, grid=fine).half() for part in masks.split(BATCH)]
    shares = torch.cat(parts)

    def loss_of(weight: Tensor, bias: Tensor, indices: Tensor) -> Tensor:
        scores = F.linear(tokens[indices].float(), weight, bias).transpose(1, 2)
        logs = upsampled(scores.reshape(len(indices), num_classes, *grid), fine).log_softmax(dim=1)
        wanted = shares[indices].float() * weights[:, None, None]
        return -(wanted * logs).sum() / wanted.sum().clamp_min(1e-6)

    first = torch.arange(min(BATCH, len(masks)))
    own, constant = weight.float(), bias.float()
    scale = min(FIRST_SCALES, key=lambda s: float(loss_of(s * own, s * constant, first)))
    own, constant = nn.Parameter(scale * own), nn.Parameter(scale * constant)
    optimiser = torch.optim.Adam([own, constant], lr=LR)
    batches = _batches(len(masks), seed=seed)
    with torch.inference_mode(False), torch.enable_grad():
        for step, indices in enumerate(counted("tuning the head: steps", batches)):
            for group in optimiser.param_groups:
                group["lr"] = LR * (1 + math.cos(math.pi * step / len(batches))) / 2
            optimiser.zero_grad()
            torch.autograd.backward(loss_of(own, constant, indices))
            optimiser.step()
    return own.detach().double(), constant.detach().double()


def _batches(num_images: int, *, seed: int) -> list[Tensor]:
    """Shuffle the images again for each pass: ``EPOCHS`` of them, or ``STEPS`` batches where that is less."""
    rng = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    for _ in range(EPOCHS):
        drawn += torch.randperm(num_images, generator=rng).split(BATCH)
        if len(drawn) >= STEPS:
            break
    return drawn[:STEPS]
