"""What each image weighs in a mean over images, so that it says what the metric says."""

import torch
from torch import Tensor

from nuwa_search.core.metric import Metric


def image_weights(labels: Tensor, metric: Metric) -> Tensor:
    """Return the weight of each image (N,), double, with mean 1.

    Each weighs 1 for ``top1`` and ``miou``. For ``balanced`` it weighs N / (C · n), n being the images of its class
    and C the classes that have any: every class then has the same share of a mean, and the weighted share of right
    answers is the mean recall.

    Args:
        labels: (N,) int64, of the images that the mean is taken over.
        metric: Which accuracy counts.
    """
    if metric != "balanced":
        return torch.ones(len(labels), dtype=torch.float64, device=labels.device)
    counts = torch.bincount(labels).double()
    return len(labels) / (int((counts > 0).sum()) * counts[labels])
