"""How sure a net is that an image shows none of its classes."""

import torch
from torch import Tensor


def open_set_score(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Energy of each row of logits (B, num_classes): (B,), larger for inputs of no known class.

    Source: Energy-based Out-of-distribution Detection (arXiv 2010.03759). Unlike the largest probability it does
    not saturate, and a head restricted to few classes is nearly always sure by probability.
    """
    return -temperature * torch.logsumexp(logits / temperature, dim=1)


def open_set_threshold(known_scores: Tensor, *, accept: float = 0.95) -> float:
    """Score above which an input counts as unknown, so that the share ``accept`` of known ones passes."""
    return float(torch.quantile(known_scores.double(), accept))
