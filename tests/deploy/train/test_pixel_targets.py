"""Losses and scores of pixels, by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tasks.label_maps import FINE
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.deploy.train.augment import moved_masks, render
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.recipe import NO_AUGMENT, AugmentConfig
from nuwa_search.deploy.train.targets import RARITY, PixelTargets, targets_of
from nuwa_search.deploy.train.views import View, draw_view
from tests.support.train_toys import PREPROCESS

SIZE = 16


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.choice([0, 0, 0, 1, 2, IGNORED], (4, SIZE, SIZE)).astype(np.uint8))


def plain_view(num: int) -> View:
    return draw_view(FinetuneConfig(augment=NO_AUGMENT), 0, num_images=num, img_size=SIZE)


def test_cross_entropy_is_the_weighted_mean_over_pixels(masks: torch.Tensor) -> None:
    logits = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = PixelTargets(masks, num_classes=3).hard(logits, plain_view(4), torch.arange(4))
    counts = np.bincount(masks.numpy().ravel(), minlength=256)[:3]
    weights = (counts / counts.sum()) ** -RARITY
    logs = torch.nn.functional.interpolate(logits, (4 * FINE, 4 * FINE), mode="bilinear").log_softmax(dim=1).numpy()
    top = below = 0.0
    for (image, y, x), label in np.ndenumerate(masks.numpy()):
        if label != IGNORED:  # SIZE is the fine grid's, so a cell is a pixel
            top -= weights[label] * logs[image, label, y, x]
            below += weights[label]
    assert float(found) == pytest.approx(top / below, rel=1e-5)


def test_masks_move_with_their_images(masks: torch.Tensor) -> None:
    augment = AugmentConfig(flip=True, shift=0.2, erase=0.5, jitter=0.0)
    view = draw_view(FinetuneConfig(augment=augment, mixup=0.0, cutmix=0.0), 0, num_images=4, img_size=SIZE)
    seen = masks.where(masks != IGNORED, 0)
    shown = render(seen[:, None].expand(-1, 3, -1, -1).contiguous(), view, torch.arange(4), PREPROCESS)
    mean, std = PREPROCESS.mean[0], PREPROCESS.std[0]
    values = ((shown[:, 0] * std + mean) * 255).round()
    moved = moved_masks(seen, view)
    kept = moved != IGNORED
    assert not kept.all(), "some boxes are erased"
    assert torch.equal(values[kept], moved[kept].float())


def test_mixed_images_are_refused(masks: torch.Tensor) -> None:
    images = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    split = SplitTensors(images, torch.zeros(4, dtype=torch.int64), masks=masks)
    config = dataclasses.replace(FinetuneConfig(), mixup=0.8)
    with pytest.raises(NuwaError, match="cannot be mixed"):
        targets_of(split, config, num_classes=3, metric="miou")
