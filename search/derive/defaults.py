"""Which options a base is cut with where nobody says otherwise: images are looked at in part."""

import dataclasses

from nuwa_search.core.arch import Arch
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.search.derive.options import DeriveOptions

SAMPLED = DeriveOptions(moment_tokens=32, ranking_error=0.015, least_images=128, sensitivity_images=64, bf16=True)
"""For larger images; docs/derivation.md tells what it costs in KL. Sensitivity sees as many tokens in 64 such images as
in 256 of 65 tokens."""
SAMPLED_SMALL = dataclasses.replace(SAMPLED, sensitivity_images=128, least_images=256, refine_images=600)
"""The same for images of few tokens. With 120 images of moments and 128 of sensitivity the small base's winner came to
a KL of 0.134 on the search split, with 300 to 0.102 (five vehicle classes, 5.5 ms, seed 0; one search each, which also
differed in their explorer; no command of the project repeats them); its refinement takes 600 images instead of 1000,
which was not compared alone."""


def is_small(base: Arch) -> bool:
    """Whether an image has few tokens."""
    return base.num_tokens <= FEW_TOKENS


def options_for(base: Arch) -> DeriveOptions:
    """Choose how subnets of ``base`` are cut: its number of tokens per image decides."""
    return SAMPLED_SMALL if is_small(base) else SAMPLED


def refined_options(options: DeriveOptions) -> DeriveOptions:
    """Return the options of a winner: solved once more on its own activations."""
    return dataclasses.replace(options, refine=True)
