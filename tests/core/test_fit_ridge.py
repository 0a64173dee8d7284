"""Heads fitted to few images: left-out scores by brute force, and what became of too sure heads."""

import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.fit_ridge import (
    RIDGES,
    ROUNDING,
    fit_by_left_out,
    is_few,
    left_out_scores,
    noise_of,
    rounding_noise,
    with_noise,
)
from nuwa_search.core.heads import _ridge
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.metric import Metric

NUM, WIDE, CLASSES = 14, 30, 3


Few = tuple[torch.Tensor, torch.Tensor]
"""Features and labels."""


@pytest.fixture
def few() -> Few:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    centres = torch.randn(CLASSES, WIDE, generator=generator).double()
    return centres[labels] + 2.5 * torch.randn(NUM, WIDE, generator=generator).double(), labels


def solved_alone(features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, ridge: float) -> torch.Tensor:
    """Weighted ridge regression with a free constant, by its normal equations."""
    ones = torch.cat([features, torch.ones(len(features), 1).double()], dim=1)
    penalty = ridge * torch.eye(WIDE + 1).double()
    penalty[-1, -1] = 0
    solved: torch.Tensor = torch.linalg.solve(
        ones.T @ (weights[:, None] * ones) + penalty, ones.T @ (weights[:, None] * targets)
    )
    return solved


@pytest.mark.parametrize("metric", ["top1", "balanced"])
def test_left_out_scores_are_those_of_fits_without_the_image(few: Few, metric: Metric) -> None:
    features, labels = few
    weights, targets = image_weights(labels, metric).double(), F.one_hot(labels, CLASSES).double()
    centred = features - (weights[:, None] * features).mean(dim=0)
    prior = (weights[:, None] * targets).mean(dim=0)
    values, axes = torch.linalg.eigh(centred.T @ (weights[:, None] * centred))
    places, ridge = centred @ axes, 3.0
    solved = places.T @ (weights[:, None] * (targets - prior)) / (values + ridge)[:, None]
    found = left_out_scores(places, solved, values + ridge, targets=targets, prior=prior, weights=weights)
    for k in range(NUM):
        others = torch.arange(NUM) != k
        alone = solved_alone(features[others], targets[others], weights[others], ridge)
        torch.testing.assert_close(found[k], torch.cat([features[k], torch.ones(1).double()]) @ alone)


def test_a_head_of_few_images_is_as_sure_as_its_left_out_scores_allow(few: Few) -> None:
    """Targets that features do not tell: the exact fit of before went to the largest scale, a hundred."""
    features, _ = few
    labels = torch.arange(NUM) % CLASSES
    weight, bias = _ridge(features, labels, CLASSES, metric="top1")
    logits = features @ weight.double().T + bias.double()
    assert is_few(features)
    assert float((logits - logits.mean(dim=1, keepdim=True)).abs().max()) < 8
    assert float(F.cross_entropy(logits, labels)) > 0.05


def test_the_ridge_grows_where_images_say_little(few: Few) -> None:
    features, labels = few
    ones = torch.ones(NUM).double()
    clear = F.one_hot(labels, WIDE).double() * 10 + 0.01 * features
    sure, _ = fit_by_left_out(clear, labels, CLASSES, ones)
    unsure, _ = fit_by_left_out(features, labels.flip(0), CLASSES, ones)
    assert float(F.cross_entropy(clear @ sure.T, labels)) < float(F.cross_entropy(features @ unsure.T, labels.flip(0)))
    assert min(RIDGES) == 1e-2


def test_many_images_are_fitted_as_ever(few: Few) -> None:
    features, labels = few
    narrow = features[:, :4]
    weight, bias = _ridge(narrow, labels, CLASSES, metric="top1")
    targets = F.one_hot(labels, CLASSES).double()
    centred = narrow - narrow.mean(dim=0)
    ridge = 1e-2 * (centred.T @ centred).diagonal().mean()
    plain = torch.linalg.solve(
        centred.T @ centred + ridge * torch.eye(4).double(), centred.T @ (targets - targets.mean(dim=0))
    )
    scale = float(weight.double().norm() / plain.norm())
    torch.testing.assert_close(weight.double(), scale * plain.T, rtol=1e-5, atol=1e-6)
    assert not is_few(narrow)
    assert bias.shape == (CLASSES,)


@pytest.mark.parametrize("num_images", [NUM, 200])
def test_a_head_does_not_multiply_what_16_bits_round_off(num_images: int) -> None:
    """Class tokens like those of random weights: alike but for a ten-thousandth of their size, which labels follow."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_images) % CLASSES
    centres = torch.randn(CLASSES, WIDE, generator=generator).double()
    noise = torch.randn(num_images, WIDE, generator=generator).double()
    features = torch.randn(WIDE, generator=generator).double() + 1e-4 * (centres[labels] + 0.5 * noise)
    weight, bias = (part.double() for part in _ridge(features, labels, CLASSES, metric="top1"))
    logits = features @ weight.T + bias
    rounded = features.half().double() @ weight.T + bias
    assert is_few(features) == (num_images == NUM)
    assert float((rounded - logits).abs().max()) < 0.02  # 75 and 63 without the noise


def test_features_that_vary_are_fitted_as_they_are() -> None:
    assert rounding_noise(4.0, 1e-5) == pytest.approx(2 * ROUNDING)
    assert rounding_noise(4.0, 0.04) == 0.0
    features = torch.randn(50, WIDE, generator=torch.Generator().manual_seed(0))
    assert noise_of(features) == 0.0
    assert noise_of(1.0 + 1e-4 * features) == pytest.approx(ROUNDING, rel=1e-3)
    assert with_noise(features, 0.0) is features


def test_the_noise_is_of_the_deviation_asked_for_and_the_same_at_each_call() -> None:
    found = with_noise(torch.ones(4000, 2), 0.5)
    assert found.std(dim=0).tolist() == pytest.approx([0.5, 0.5], rel=0.05)
    assert torch.equal(found, with_noise(torch.ones(4000, 2), 0.5))
