"""A linear head on patch tokens for a class per pixel, fitted in closed form and then tuned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of, run_in_parts
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import places_in_turn
from nuwa_search.core.fit_ridge import rounding_noise, with_noise
from nuwa_search.core.heads import OnImages, batch_for, feature_arithmetic, no_one, pooled_by, with_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tasks.label_maps import class_shares, pixel_rows
from nuwa_search.core.tasks.pixel_scores import PixelTally
from nuwa_search.core.tasks.pixel_weights import class_weights
from nuwa_search.core.tasks.tune_head import TUNED_RARITIES, num_tuned_on, tuned_head
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.core.vit import PlainViT

RIDGE = 1e-3
"""Ridge relative to the mean diagonal of the patch tokens' Gram matrix; there are hundreds of patches to an image."""
RARITIES = (0.0, 0.25, 0.375, 0.5, 0.625)
"""Powers of a class's share of the pixels that its pixels' weights are divided by; the search split chooses. At 0 all
pixels weigh alike, and a class of a thousandth of them is hardly ever answered; at 1 all classes weigh alike, and rare
ones are answered far too often."""
SCALES = torch.logspace(0, 2, 41).double()
"""Factors tried on the scores, which a regression on shares leaves near 0..1, far too flat for a softmax."""


@dataclass(frozen=True)
class LinearHead:
    """Weight (C, F) and bias (C,), double."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class FittedHeads:
    """Regressions, and the tokens of some training images to tune them on.

    Args:
        rarities: Powers of a class's share of the pixels.
        heads: One for each.
        tokens: (N, P, F) in 16 bits.
        places: (N,) which training images these are of.
        noise: Of the rounding of tokens that vary hardly more than it (``rounding_noise``).
    """

    rarities: tuple[float, ...]
    heads: list[LinearHead]
    tokens: Tensor
    places: Tensor
    noise: float = 0.0


def fit_patch_head(
    model: PlainViT,
    data: TaskTensors,
    *,
    num_classes: int,
    on_images: OnImages = no_one,
    rarities: Sequence[float] = RARITIES,
) -> PlainViT:
    """Fit a linear head on frozen patch tokens by ridge regression on each class's share of the patch, then tune it.

    Rare classes are weighed: one regression per power of rarity, all from one pass over the training images, and
    tuned from two of them (``tune_head``). The search images choose among all by mIoU, and scale the scores to be
    calibrated, so that the net can teach.

    Args:
        model: The base; its own head is ignored.
        data: Train split to fit on, search split to choose by.
        num_classes: Outputs.
        on_images: Who watches.
        rarities: Powers of a class's share; those that heads are tuned from among them.

    Raises:
        NuwaError: If the splits have no masks.
    """
    base, total, first = dense_model(model, num_classes), len(data.train) + len(data.search), len(data.train)
    seen = fit_heads(base, data.train, data.preprocess, lambda done: on_images(done, total), rarities=rarities)
    heads = [*seen.heads, *_tuned_heads(seen, masks_of(data.train), grid=base.arch.grid)]
    best = _best_head(
        base, data.search, data.preprocess, heads, lambda done: on_images(first + done, total), noise=seen.noise
    )
    return with_head(base, best.weight.float(), best.bias.float())


def _tuned_heads(seen: "FittedHeads", masks: Tensor, *, grid: tuple[int, int]) -> list[LinearHead]:
    """Tune from the regression of the same power of rarity, on the tokens that were kept."""
    out: list[LinearHead] = []
    tokens = with_noise(seen.tokens, seen.noise)
    for rarity in TUNED_RARITIES:
        start = seen.heads[seen.rarities.index(rarity)]
        found = tuned_head(start.weight, start.bias, tokens=tokens, grid=grid, masks=masks[seen.places], rarity=rarity)
        out.append(LinearHead(*found))
    return out


def dense_model(model: PlainViT, num_classes: int) -> PlainViT:
    """Copy a base with a head of zeros on each patch token."""
    dense = pooled_by(model, "patches")
    return with_head(dense, torch.zeros(num_classes, dense.arch.head_in_features), torch.zeros(num_classes))


@torch.inference_mode()
def fit_heads(
    model: PlainViT,
    train: SplitTensors,
    preprocess: Preprocess,
    on_images: Callable[[int], None],
    *,
    rarities: Sequence[float] = RARITIES,
) -> FittedHeads:
    """Regress the shares of the classes on the patch tokens, once for each way of weighing rare classes.

    Args:
        model: Whose patch tokens are read.
        train: Images with masks.
        preprocess: How they become network input.
        on_images: Told how many images were run.
        rarities: How much more rare classes weigh, a head for each.
    """
    arch = model.arch
    num_classes, size = arch.num_classes, arch.head_in_features + 1
    weights = [class_weights(masks_of(train), num_classes, rarity) for rarity in rarities]
    grams = torch.zeros(len(weights), size, size, dtype=torch.float64)
    crosses = torch.zeros(len(weights), size, num_classes, dtype=torch.float64)
    places = places_in_turn(train, num_tuned_on(len(train), num_patches=arch.num_patches, width=size - 1))
    is_kept = torch.zeros(len(train), dtype=torch.bool).index_fill(0, places, True)
    kept: list[Tensor] = []
    done = 0
    for part, masks in _parts(train, model):
        on_images(done)
        tokens = patch_tokens(model, part, preprocess)
        kept.append(tokens[is_kept[done : done + len(part)]].bfloat16())
        done += len(part)
        rows = torch.nn.functional.pad(tokens.flatten(0, 1).double(), (0, 1), value=1.0)
        shares = pixel_rows(class_shares(masks, num_classes=num_classes, grid=arch.grid)).double()
        for k, weight in enumerate(weights):
            # each pixel of a patch is a row of its own, which has the patch's token and weighs what its class does
            grams[k] += rows.T @ (rows * (shares @ weight)[:, None])
            crosses[k] += rows.T @ (shares * weight)
    noise = _noise_of(grams[0])
    heads = [solve_head(gram, cross, noise=noise) for gram, cross in zip(grams, crosses, strict=True)]
    return FittedHeads(tuple(rarities), heads, torch.cat(kept), places, noise)


def _noise_of(gram: Tensor) -> float:
    """Return the rounding noise of tokens by their moments (F + 1, F + 1), a constant last."""
    count = gram[-1, -1].clamp_min(1e-12)
    square, mean = gram.diagonal()[:-1] / count, gram[:-1, -1] / count
    return rounding_noise(float(square.mean()), float((square - mean.square()).mean()))


def solve_head(gram: Tensor, cross: Tensor, *, noise: float = 0.0) -> LinearHead:
    """Solve weighted ridge regression from its moments, the last row and column of a constant that is not shrunk.

    Args:
        gram: (F + 1, F + 1).
        cross: (F + 1, C).
        noise: Standard deviation of the noise that the features are taken to have.
    """
    count, total = gram[-1, -1].clamp_min(1e-12), gram[:-1, -1]
    mean, prior = total / count, cross[-1] / count
    centred = gram[:-1, :-1] - torch.outer(total, mean)
    ridge = RIDGE * centred.diagonal().mean().clamp_min(1e-12) + count * noise**2
    wanted = cross[:-1] - torch.outer(total, prior)
    weight = torch.linalg.solve(centred + ridge * torch.eye(len(centred), dtype=gram.dtype), wanted).T
    return LinearHead(weight, prior - weight @ mean)


@torch.inference_mode()
def _best_head(
    model: PlainViT,
    search: SplitTensors,
    preprocess: Preprocess,
    heads: Sequence[LinearHead],
    on_images: Callable[[int], None],
    *,
    noise: float,
) -> LinearHead:
    """Choose the head of the largest mIoU on the search images, the first of equals, and calibrate it there."""
    num_classes, grid = model.arch.num_classes, model.arch.grid
    tallies = [PixelTally(num_classes) for _ in heads]
    losses = torch.zeros(len(heads), len(SCALES), dtype=torch.float64)
    truths, done = search.truths, 0
    if truths is None:
        raise NuwaError("a head for pixels needs masks", hint="name data with SPLIT/images and SPLIT/masks")
    for part, masks in _parts(search, model):
        on_images(done)
        tokens = with_noise(patch_tokens(model, part, preprocess), noise)
        shares = class_shares(masks, num_classes=num_classes, grid=grid)
        for k, head in enumerate(heads):
            rows = tokens @ head.weight.T.float() + head.bias.float()
            scores = rows.transpose(1, 2).reshape(len(part), num_classes, *grid)
            for place, one in enumerate(scores):
                tallies[k].add(one, truths.label_map(done + place))
            losses[k] += torch.stack([-(shares * (s * scores).log_softmax(dim=1)).sum() for s in SCALES.float()])
        done += len(part)
    mious = [tally.scores().miou for tally in tallies]
    best = max(range(len(heads)), key=lambda k: (mious[k], -k))
    scale = SCALES[losses[best].argmin()]
    return LinearHead(heads[best].weight * scale, heads[best].bias * scale)


def patch_tokens(model: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Run (B, 3, H, W) uint8 images up to the head, on the model's device: (B, P, F), on the images'."""
    device = device_of(model)

    def run(part: Tensor) -> Tensor:
        with feature_arithmetic(model.arch, device):
            stream = model.forward_features(normalise(part.to(device), preprocess)).float()
        return model.pool(stream).to(part.device)

    return run_in_parts(run, images, len(images))


def masks_of(split: SplitTensors) -> Tensor:
    """Return the masks of a split: (N, H, W) uint8.

    Raises:
        NuwaError: If it has none.
    """
    if split.masks is None:
        raise NuwaError("a head for pixels needs masks", hint="name data with SPLIT/images and SPLIT/masks")
    return split.masks


def _parts(split: SplitTensors, model: PlainViT) -> list[tuple[Tensor, Tensor]]:
    size = batch_for(model.arch)
    return list(zip(torch.split(split.images, size), torch.split(masks_of(split), size), strict=True))
