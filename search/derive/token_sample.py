"""A share of each image's tokens, drawn anew for every image, from which second moments are unbiased."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenSample:
    """Which tokens of some images are looked at, and what each stands for.

    Args:
        places: (B, n) positions per image; None takes all in their order.
        roots: (n,) square root of the number of tokens that each stands for.
    """

    places: Tensor | None
    roots: Tensor

    def pick(self, x: Tensor) -> Tensor:
        """Take the tokens of (B, N, K): (B, n, K), not yet weighted."""
        if self.places is None:
            return x
        return x.gather(1, self.places[..., None].expand(-1, -1, x.shape[-1]))

    def roots_with(self, position_roots: Tensor) -> Tensor:
        """Combine roots of position weights (N,) with what each token stands for: (B or 1, n, 1)."""
        if self.places is None:
            return position_roots[None, :, None]
        return (position_roots[self.places] * self.roots)[..., None]


def sample_tokens(
    num_images: int, *, num_prefix: int, num_patches: int, count: int, generator: torch.Generator, device: torch.device
) -> TokenSample:
    """Draw ``count`` patch tokens per image without replacement; prefix tokens are always taken.

    The sum over the sample of (root x)(root x)ᵀ is, on average over the draws, that over all tokens: every patch
    token is taken with probability count / num_patches and stands for num_patches / count of them.

    Args:
        num_images: B.
        num_prefix: Prefix tokens (class token, registers), the first positions.
        num_patches: Patch tokens, behind them.
        count: Patch tokens per image; 0, or as many as there are, takes all.
        generator: Of the draws, on the CPU, so that every device draws alike.
        device: Where the images are.
    """
    if not 0 < count < num_patches:
        return TokenSample(None, torch.ones(num_prefix + num_patches, device=device))
    drawn = torch.rand(num_images, num_patches, generator=generator).argsort(dim=1)[:, :count].sort(dim=1).values
    prefix = torch.arange(num_prefix).expand(num_images, -1)
    roots = torch.ones(num_prefix + count)
    roots[num_prefix:] = (num_patches / count) ** 0.5
    return TokenSample(torch.cat([prefix, drawn + num_prefix], dim=1).to(device), roots.to(device))
