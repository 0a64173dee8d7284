"""What is a large image, and whether this processor has the arithmetic that makes it cheaper."""

import torch

FEW_TOKENS = 128
"""Tokens up to which an image is small: more of them are looked at, and fine-tuning mixes them. The bases trained here
have 65; a ViT at 224 pixels has 197 (patch 16) or 257 (patch 14)."""


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively; elsewhere it is emulated and slower."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
