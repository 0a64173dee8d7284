"""Logits of a net over many images, batch by batch, and the shares of them that are right."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nuwa_search.core.accelerator import device_of, run_in_parts
from nuwa_search.core.counting import counted
from nuwa_search.core.images import Preprocess
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.core.vit import PlainViT

TOP_K = 5
"""Largest logits of an image that top5 looks at."""
EVAL_BATCH = 250
EVAL_TOKENS = EVAL_BATCH * 16
"""Tokens per batch where an image has many: hidden activations of a ViT-S then take 25 MB, which the allocator keeps;
what is larger it gives back to the system and gets anew, page by page, for every layer."""


def normalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Turn (B, 3, H, W) uint8 into network input: float32, scaled to 0..1, normalised."""
    mean = torch.tensor(preprocess.mean, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(preprocess.std, device=images.device).view(1, -1, 1, 1)
    return (images.float() / 255.0 - mean) / std


@torch.inference_mode()
def logits_of(model: nn.Module, images: Tensor, preprocess: Preprocess, *, batch: int | None = None) -> Tensor:
    """Run (N, 3, H, W) uint8 images through ``model`` in batches: (N, num_classes) float32, on the images' device.

    They go to the model's device batch by batch; where that has no memory for one, batches are halved.

    Args:
        model: Any net of images.
        images: (N, 3, H, W) uint8, on any device.
        preprocess: How the images become network input.
        batch: Images at a time; None takes ``EVAL_BATCH``, or as many as ``EVAL_TOKENS`` are where an
            image has many tokens.
    """
    size = batch or images_at_once(model)
    device = device_of(model)

    def run(part: Tensor) -> Tensor:
        return run_trimmed(model, normalise(part.to(device), preprocess)).float().to(part.device)

    return torch.cat([run_in_parts(run, part, size) for part in image_batches(images, size)])


def run_trimmed(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return logits of normalised images (B, in_chans, H, W), computed of the tokens that matter (``forward_trimmed``).

    Any net but a plain ViT as it stands is called.
    """
    if type(model) is PlainViT:
        return model.forward_head(model.forward_trimmed(inputs))
    logits: Tensor = model(inputs)
    return logits


def images_at_once(model: nn.Module) -> int:
    """Choose how many images pass at once."""
    if not isinstance(model, PlainViT) or model.arch.num_tokens <= FEW_TOKENS:
        return EVAL_BATCH
    return max(1, EVAL_TOKENS // model.arch.num_tokens)


def image_batches(images: Tensor, batch: int = EVAL_BATCH) -> Iterator[Tensor]:
    """Split images (N, …) into batches that go through a network, and count them."""
    return counted("images through the network", torch.split(images, batch), sizes=len)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of images (fraction, not percent) whose largest logit is their label."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def topk(logits: Tensor, labels: Tensor, k: int = TOP_K) -> float | None:
    """Share of images whose label is among the ``k`` largest logits; None with ``k`` classes or fewer."""
    if logits.shape[1] <= k:
        return None
    return float((logits.topk(k, dim=1).indices == labels[:, None]).any(dim=1).double().mean())
