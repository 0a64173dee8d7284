"""What images weigh: a class that is rare counts as if it were as common as the others."""

import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import fit_head
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.images import Preprocess
from nuwa_search.core.metric import metric_from_text
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT

PREPROCESS = Preprocess(img_size=8)


def test_the_weighted_share_of_right_answers_is_the_metric() -> None:
    labels = torch.tensor([0] * 90 + [2] * 10)  # a class in between has no images
    logits = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    is_right = (logits.argmax(dim=1) == labels).double()
    scores = class_scores(logits, labels)
    for metric in ("top1", "balanced"):
        weights = image_weights(labels, metric_from_text(metric))
        assert float(weights.mean()) == pytest.approx(1)
        assert float((weights * is_right).mean()) == pytest.approx(scores.accuracy(metric_from_text(metric)))
    with pytest.raises(NuwaError, match="unknown metric 'top2'"):
        metric_from_text("top2")


def test_a_balanced_head_is_that_of_rare_images_repeated_until_they_are_as_many() -> None:
    torch.manual_seed(0)
    model = PlainViT(Arch((BlockSpec(2, 8, 8, 32),), embed_dim=16, num_classes=3, img_size=8, patch_size=4)).eval()
    images = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8)
    labels = torch.tensor([0] * 50 + [1] * 10)
    repeated = torch.cat([torch.arange(50), torch.arange(50, 60).repeat(5)])
    split = SplitTensors(images, labels)
    balanced = fit_head(model, split, PREPROCESS, num_classes=2, metric="balanced")
    as_many = fit_head(model, split.take(repeated), PREPROCESS, num_classes=2)
    torch.testing.assert_close(balanced.head.weight, as_many.head.weight)
    torch.testing.assert_close(balanced.head.bias, as_many.head.bias)
