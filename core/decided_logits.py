"""Logits whose largest is FP32's, at the price of bf16 for all but the images that are in doubt."""

import torch
from torch import Tensor

from nuwa_search.core.accelerator import bf16_where_fast, device_of, has_bf16, run_in_parts
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import TOP_K, image_batches, images_at_once, logits_of, normalise
from nuwa_search.core.vit import PlainViT

PROBES = 16
"""Images, evenly spread, that are answered both ways to see how far bf16 moves the differences between two logits."""
SAFETY = 2.0
"""Times the largest such move: whose logits lie no farther apart is in doubt. Of 400 search images of the default base,
bf16 alone turned the answers of 7 with the base, and of 3 and 5 with two nets of 30 ms; 72, 85 and 78 were in doubt
where any two classes were looked at, and none was turned. Of 127 test images of the magnetic tiles it turned 1 with the
base; 18 were in doubt so, 12 by moves of the winner, and 91 with the five largest of the six logits, whatever the label
(one run each; no command of the project repeats them)."""


def is_bf16_enough(model: PlainViT) -> bool:
    """Whether most images need no FP32: they have one answer, and the device multiplies bf16."""
    return not model.arch.is_dense and has_bf16(device_of(model))


@torch.inference_mode()
def decided_logits(
    model: PlainViT,
    images: Tensor,
    preprocess: Preprocess,
    *,
    labels: Tensor | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """Run (N, 3, H, W) uint8 images: (N, num_classes) float32 logits with the largest, and the five largest, of FP32.

    The net runs in bf16, its head in FP32. Images whose order bf16 could have turned, judged by the largest difference
    seen on ``PROBES`` images that run in FP32 too, run in FP32: a bound that was seen to hold, not proved. All do where
    ``is_bf16_enough`` is false.

    Args:
        model: In evaluation mode.
        images: On any device.
        preprocess: How they become network input.
        labels: (N,) int64: of the five largest it then only matters whether the label is among them, as top5 asks.
            With six classes nearly every image has two of them close together.
        features: (N, head_in_features) what the head reads of each image, where bf16 computed it before.
    """
    if not is_bf16_enough(model) or len(images) <= PROBES:
        return logits_of(model, images, preprocess)
    rough = _rough_logits(model, images, preprocess) if features is None else _answers(model, features, images.device)
    probes = torch.linspace(0, len(images) - 1, PROBES, device=images.device).round().long()
    exact = logits_of(model, images[probes], preprocess)
    is_in_doubt = _is_in_doubt(rough, probes, exact, labels=None if labels is None else labels.to(rough.device))
    rough[probes] = exact
    is_in_doubt[probes] = False
    if bool(is_in_doubt.any()):
        rough[is_in_doubt] = logits_of(model, images[is_in_doubt], preprocess)
    return rough


def _is_in_doubt(rough: Tensor, probes: Tensor, exact: Tensor, *, labels: Tensor | None) -> Tensor:
    """Say whose order bf16 could have turned: (N,) bool.

    For the largest logit only moves between the winner and another class matter; for the fifth and sixth, moves between
    any two classes.

    Args:
        rough: (N, C) of bf16.
        probes: (P,) images that ran in FP32 too.
        exact: (P, C) what came of it.
        labels: (N,), or None where the five largest matter whatever the image shows.
    """
    num_classes, moved = rough.shape[1], rough[probes] - exact
    if num_classes < 2:
        return torch.zeros(len(rough), dtype=torch.bool, device=rough.device)
    best = rough.topk(2, dim=1)
    gained = moved.gather(1, best.indices[probes, :1]) - moved
    is_in_doubt = best.values[:, 0] - best.values[:, 1] <= SAFETY * gained.abs().max()
    if num_classes > TOP_K:
        reach = SAFETY * (moved.amax(dim=1) - moved.amin(dim=1)).max()
        fifth, sixth = rough.topk(TOP_K + 1, dim=1).values[:, TOP_K - 1 :].unbind(dim=1)
        margin = fifth - sixth
        if labels is not None:
            own = rough.gather(1, labels[:, None])[:, 0]
            margin = torch.where(own >= fifth, own - sixth, fifth - own)
        is_in_doubt |= margin <= reach
    return is_in_doubt


def _rough_logits(model: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    device, batch = device_of(model), images_at_once(model)

    def run(part: Tensor) -> Tensor:
        with bf16_where_fast(device):
            stream = model.forward_trimmed(normalise(part.to(device), preprocess))
        return _answers(model, model.pool(stream.float()), part.device)

    return torch.cat([run_in_parts(run, part, batch) for part in image_batches(images, batch)])


def _answers(model: PlainViT, features: Tensor, device: torch.device) -> Tensor:
    return model.answer(features.to(device_of(model)).float()).to(device)
