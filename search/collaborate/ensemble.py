"""Sub-models with their fusion as one torch module: what is trained together, and taken apart for the boards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nuwa_search.core.heads import features_of
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tasks.label_maps import pixel_rows
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.train.seeds import generator_for

RIDGE = 1e-3
"""Relative to the mean diagonal of the vectors' Gram matrix: sub-models of one base see much alike."""
ALL_SHARE = 0.5
"""Share of the images that no board is missing from in training: that is what most answers are fused from."""


@dataclass(frozen=True)
class EnsembleOutputs:
    """What an ensemble answers; where pixels have classes, for patches: (B, C, h, w) for (B, C), (B · P, W) for (B, W).

    Args:
        fused: Logits (B, C).
        features: (B, W) what the fusion takes for the teacher's features.
        own: Logits (B, C) of each sub-model alone.
    """

    fused: Tensor
    features: Tensor
    own: tuple[Tensor, ...]


class Ensemble(nn.Module):
    """N sub-models, the head of each over all classes, and the fusion of their vectors.

    The fusion maps the vectors, zeros where a board is missing, and the mask of those present to 2·W numbers through a
    ReLU, and these to C logits. Filled in pairs of opposite signs it begins as DeViT's (arXiv 2309.05015): a linear
    map to the teacher's width W, then the teacher's head.

    Where pixels have classes the fusion reads one patch after another: its vectors are the sub-models' scores of the
    patch, and W is C, as what it takes for the teacher's features are the teacher's scores.

    Args:
        members: Each with a head over all C classes; their pooled features, or scores of patches, are the vectors.
        width: W.
    """

    def __init__(self, members: Sequence[PlainViT], *, width: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        total = sum(fused_dim(member) for member in members) + len(members)
        self.fuse_in = nn.Linear(total, 2 * width)
        self.fuse_out = nn.Linear(2 * width, members[0].arch.num_classes)
        self.width = width

    @property
    def vits(self) -> tuple[PlainViT, ...]:
        return tuple(member for member in self.members if isinstance(member, PlainViT))

    def forward(self, images: Tensor, mask: Tensor | None = None) -> EnsembleOutputs:
        """Answer images (B, 3, H, W), with boards missing where ``mask`` (B, N) is 0."""
        pooled = [member.pool(member.forward_trimmed(images)) for member in self.vits]
        own = tuple(member.answer(one) for member, one in zip(self.vits, pooled, strict=True))
        if not self.is_dense:
            fused, features = self.fuse(pooled, mask)
            return EnsembleOutputs(fused, features, own)
        num_patches = self.vits[0].arch.num_patches
        rows = None if mask is None else mask.repeat_interleave(num_patches, dim=0)
        fused, features = self.fuse([pixel_rows(scores) for scores in own], rows)
        return EnsembleOutputs(self.maps(fused), features, own)

    @property
    def is_dense(self) -> bool:
        """Whether sub-models answer for patches."""
        return self.vits[0].arch.is_dense

    def maps(self, rows: Tensor) -> Tensor:
        """Lay logits of patches (B · P, C), image by image, out as (B, C, h, w)."""
        arch = self.vits[0].arch
        return rows.view(-1, arch.num_patches, rows.shape[1]).transpose(1, 2).reshape(-1, rows.shape[1], *arch.grid)

    def fuse(self, vectors: Sequence[Tensor], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fuse vectors (B, d_i) to logits (B, C) and the estimate of the teacher's features (B, W)."""
        before = self.fuse_in(fusion_inputs(vectors, mask))
        features = (before[:, : self.width] - before[:, self.width :]) / 2
        return self.fuse_out(before.relu()), features

    def begin_as(self, weight: Tensor, bias: Tensor, *, head: nn.Linear) -> None:
        """Set the fusion to the linear map ``weight`` (D + N, W) and ``bias`` (W,), then a head over W features.

        Of patches the map gives scores already, and the head is left out.
        """
        last = torch.eye(self.width) if self.is_dense else head.weight
        with torch.no_grad():
            self.fuse_in.weight.copy_(torch.cat([weight.T, -weight.T]))
            self.fuse_in.bias.copy_(torch.cat([bias, -bias]))
            self.fuse_out.weight.copy_(torch.cat([last, -last], dim=1))
            self.fuse_out.bias.copy_(torch.zeros(self.width) if self.is_dense else head.bias)


def fusion_inputs(vectors: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """Join vectors (B, d_i), zeros where ``mask`` (B, N) is 0, and the mask: (B, D + N)."""
    if mask is None:
        mask = torch.ones(len(vectors[0]), len(vectors), device=vectors[0].device)
    kept = [vector.float() * mask[:, [i]] for i, vector in enumerate(vectors)]
    return torch.cat([*kept, mask], dim=1)


def draw_mask(num_images: int, num_boards: int, *, seed: int, stream: str, place: int = 0) -> Tensor:
    """Draw which boards are there (B, N): all of them for half of the images, else each with even odds, never none.

    Args:
        num_images: Images B of the batch.
        num_boards: Boards N.
        seed: Seed of the training run.
        stream: Name of the random stream: draws under different names are independent.
        place: Number of the draw in its stream, such as the training step.

    Returns:
        (B, N) float32: 1 where a board takes part, 0 where it is missing.
    """
    rng = generator_for(seed, stream, place)
    mask = (torch.rand(num_images, num_boards, generator=rng) < 0.5).float()
    sure = torch.randint(0, num_boards, (num_images,), generator=rng)
    mask[torch.arange(num_images), sure] = 1.0
    mask[torch.rand(num_images, generator=rng) < ALL_SHARE] = 1.0
    return mask


def fused_dim(member: PlainViT) -> int:
    """Count the numbers of a sub-model that are fused at once: of its vector, or a patch's classes."""
    return member.arch.num_classes if member.arch.is_dense else member.arch.head_in_features


def vectors_of(members: Sequence[PlainViT], images: Tensor, preprocess: Preprocess) -> list[Tensor]:
    """Run (B, 3, H, W) uint8 images through every sub-model: (B, d_i) each, or scores of patches (B · P, C)."""
    return [
        pixel_rows(logits_of(member, images, preprocess))
        if member.arch.is_dense
        else features_of(member, images, preprocess)
        for member in members
    ]


def fit_fusion(vectors: Sequence[Tensor], teacher: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Fit the linear map from vectors to the teacher's features by ridge regression, boards missing at random.

    Args:
        vectors: (B, d_i) of each sub-model.
        teacher: (B, W).
        seed: Seed of the draw of missing boards.

    Returns:
        Weight (D + N, W) and bias (W,).
    """
    inputs = fusion_inputs(vectors, draw_mask(len(teacher), len(vectors), seed=seed, stream="fit")).double()
    means, target_mean = inputs.mean(dim=0), teacher.double().mean(dim=0)
    centred = inputs - means
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), centred.T @ (teacher.double() - target_mean))
    return weight.float(), (target_mean - means @ weight).float()


def fusion_of(ensemble: Ensemble) -> Fusion:
    """Take the fusion's numbers out, as the coordinator reads them."""

    def floats(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.ascontiguousarray(tensor.detach().cpu().float().numpy())

    layers, num_classes = (ensemble.fuse_in, ensemble.fuse_out), ensemble.fuse_out.out_features
    own: list[tuple[Tensor, Tensor]] = [(member.head.weight.T, member.head.bias) for member in ensemble.vits]
    if ensemble.is_dense:  # what a board sends are its scores already
        own = [(torch.eye(num_classes), torch.zeros(num_classes))] * len(own)
    return Fusion(
        weights=tuple(floats(layer.weight.T) for layer in layers),
        biases=tuple(floats(layer.bias) for layer in layers),
        own_weights=tuple(floats(weight) for weight, _ in own),
        own_biases=tuple(floats(bias) for _, bias in own),
    )
