"""Losses of distillation: soft targets, teacher's logits, relations of Q, K, V, pooled features."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nuwa_search.deploy.train.traced import Qkv


def smooth_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Turn labels (N,) into distributions (N, C) with ``smoothing`` of the mass spread over all classes."""
    return F.one_hot(labels, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def distil_kl(student: Tensor, teacher: Tensor, temperature: float, *, weights: Tensor | None = None) -> Tensor:
    """Return T² · KL(teacher ‖ student) of logits (B, C) at temperature T, mean over images.

    Source: Distilling the Knowledge in a Neural Network (arXiv 1503.02531); T² keeps the size of the
    gradient independent of T.

    Args:
        student: Logits.
        teacher: Logits for the same images.
        temperature: T.
        weights: (B,) of the images in the mean; None for 1 each.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    if weights is not None:
        rows = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(dim=1)
        return temperature**2 * (weights * rows).mean()
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def relation_kl(student: Tensor, teacher: Tensor, *, student_dim: int, teacher_dim: int) -> Tensor:
    """Match how tokens relate: KL between row-softmaxed F·Fᵀ/√head_dim, mean over rows and images.

    Source: DeViT (arXiv 2309.05015), feature matching. The relation is tokens × tokens, so widths and
    head counts may differ, and permuting heads changes nothing.

    Args:
        student: (B, N, W) queries, keys or values with heads side by side.
        teacher: (B, N, W') of the teacher; gets no gradient.
        student_dim: Width per head of the student.
        teacher_dim: Width per head of the teacher.
    """
    mine = _log_relation(student, student_dim).flatten(0, 1)
    theirs = _log_relation(teacher.detach(), teacher_dim).flatten(0, 1)
    return F.kl_div(mine, theirs, reduction="batchmean", log_target=True)


def _log_relation(features: Tensor, head_dim: int) -> Tensor:
    features = features.float()  # a softmax over sums of hundreds of products does not survive bf16
    return F.log_softmax(features @ features.transpose(1, 2) / math.sqrt(head_dim), dim=-1)


def relation_loss(student: Qkv, teacher: Qkv, weights: tuple[float, float, float]) -> Tensor:
    """Weigh the relation losses of query, key and value by ``weights``."""
    parts = [
        weight * relation_kl(mine, theirs, student_dim=my_dim, teacher_dim=their_dim)
        for weight, mine, theirs, my_dim, their_dim in (
            (weights[0], student.q, teacher.q, student.qk_dim, teacher.qk_dim),
            (weights[1], student.k, teacher.k, student.qk_dim, teacher.qk_dim),
            (weights[2], student.v, teacher.v, student.v_dim, teacher.v_dim),
        )
        if weight > 0
    ]
    return torch.stack(parts).sum()


@dataclass(frozen=True)
class FeatureMap:
    """A fixed affine map from the student's features to the teacher's, and the scale of the latter.

    Args:
        weight: (D_student, D_teacher).
        bias: (D_teacher,).
        scale: Mean squared distance of the teacher's features from their mean.
    """

    weight: Tensor
    bias: Tensor
    scale: float

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the squared error of mapped features (B, D), 1 meaning no better than the mean."""
        error = student.float() @ self.weight + self.bias - teacher.detach()
        return error.square().sum(dim=1).mean() / self.scale


def fit_feature_map(student: Tensor, teacher: Tensor, *, ridge: float = 1e-4) -> FeatureMap:
    """Fit the map by least squares on features (N, D_student) and (N, D_teacher).

    Args:
        student: Features of the un-tuned student.
        teacher: Features of the teacher for the same images.
        ridge: Relative to the mean diagonal of the Gram matrix; keeps collinear features solvable.
    """
    x, y = student.double(), teacher.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    damping = ridge * gram.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(gram + damping * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), x.T @ y)
    scale = max(float(y.square().sum(dim=1).mean()), 1e-12)
    return FeatureMap(weight.float(), (y_mean - x_mean @ weight).float(), scale)
