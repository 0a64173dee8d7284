"""The arithmetic candidates are scored in: bf16 where the processor or GPU multiplies it, else FP32."""

import torch

from nuwa_search.core.accelerator import CPU, bf16_where_fast, has_bf16


def scoring_context(device: torch.device = CPU) -> torch.autocast:
    """Return the context that candidates' forward passes run in on ``device``.

    On a CPU with AVX-512 BF16 a ViT-Ti-sized net takes 0.38 of its FP32 time, and its logits move by about
    half a percent: far less than what tells candidates apart. Reported accuracies are taken in FP32.
    """
    return bf16_where_fast(device)


def statistics_context(device: torch.device, *, bf16: bool) -> torch.autocast:
    """Return the context that a net runs in whose activations are measured: FP32, or bf16 on a CPU that multiplies it.

    Moments are summed in FP32 and more either way; docs/derivation.md tells by how much they differ. A GPU is fast
    enough for FP32.

    Args:
        device: Where the net runs.
        bf16: Whether it may (``DeriveOptions.bf16``).
    """
    return bf16_where_fast(device, enabled=has_bf16_statistics(device, bf16=bf16))


def has_bf16_statistics(device: torch.device, *, bf16: bool) -> bool:
    """Whether ``statistics_context`` is bf16 there: what is measured then must not be mixed with FP32's."""
    return bf16 and device.type == "cpu" and has_bf16(device)
