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
"""Times the largest such move: an image whose two largest logits lie no farther apart is in doubt. Of 400 search images
of the default base, bf16 alone turned the answers of 7 with the base, and of 3 and 5 with two nets of 30 ms; none was
turned here, and 72, 85 and 78 ran in FP32. That took 33.7, 14.1 and 14.6 CPU seconds instead of 58.8, 17.2 and 19.7
(one thread, busy machine; no command of the project repeats it)."""


def is_bf16_enough(model: PlainViT) -> bool:
    """Whether most images need no FP32: they have one answer, and the device multiplies bf16."""
    return not model.arch.is_dense and has_bf16(device_of(model))


@torch.inference_mode()
def decided_logits(
    model: PlainViT, images: Tensor, preprocess: Preprocess, *, features: Tensor | None = None
) -> Tensor:
    """Run (N, 3, H, W) uint8 images: (N, num_classes) float32 logits with the largest, and the five largest, of FP32.

    The net runs in bf16, its head in FP32. Images whose order bf16 could have turned, judged by the largest difference
    seen on ``PROBES`` images that run in FP32 too, run in FP32: a bound that was seen to hold, not proved. All do where
    ``is_bf16_enough`` is false.

    Args:
        model: In evaluation mode.
        images: On any device.
        preprocess: How they become network input.
        features: (N, head_in_features) what the head reads of each image, where bf16 computed it before.
    """
    if not is_bf16_enough(model) or len(images) <= PROBES:
        return logits_of(model, images, preprocess)
    rough = _rough_logits(model, images, preprocess) if features is None else _answers(model, features, images.device)
    probes = torch.linspace(0, len(images) - 1, PROBES, device=images.device).round().long()
    exact = logits_of(model, images[probes], preprocess)
    moved = rough[probes] - exact
    reach = SAFETY * (moved.amax(dim=1) - moved.amin(dim=1)).max()
    rough[probes] = exact
    is_in_doubt = _margins(rough) <= reach
    is_in_doubt[probes] = False
    if bool(is_in_doubt.any()):
        rough[is_in_doubt] = logits_of(model, images[is_in_doubt], preprocess)
    return rough


def _rough_logits(model: PlainViT, images: Tensor, preprocess: Preprocess) -> Tensor:
    device, batch = device_of(model), images_at_once(model)

    def run(part: Tensor) -> Tensor:
        with bf16_where_fast(device):
            stream = model.forward_features(normalise(part.to(device), preprocess))
        return _answers(model, model.pool(stream.float()), part.device)

    return torch.cat([run_in_parts(run, part, batch) for part in image_batches(images, batch)])


def _answers(model: PlainViT, features: Tensor, device: torch.device) -> Tensor:
    return model.answer(features.to(device_of(model)).float()).to(device)


def _margins(logits: Tensor) -> Tensor:
    """Distance by which the largest logit leads, or the fifth where that is less and there is a sixth: (N,)."""
    num_classes = logits.shape[1]
    ranked = logits.topk(min(TOP_K + 1, num_classes), dim=1).values
    ends = [k for k in (1, TOP_K) if k < num_classes]
    gaps = [ranked[:, k - 1] - ranked[:, k] for k in ends]
    return torch.stack(gaps).amin(dim=0) if gaps else torch.full_like(ranked[:, 0], torch.inf)
