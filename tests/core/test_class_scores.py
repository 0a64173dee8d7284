"""Accuracies stand with what their images can tell."""

import numpy as np
import pytest
import torch

from nuwa_search.core.class_scores import ClassScores, class_scores, none_threshold
from nuwa_search.core.paired import bootstrap_interval, is_equal
from nuwa_search.core.proportion import wilson_interval


def answers(labels: list[int], said: list[int], num_classes: int = 3) -> ClassScores:
    logits = torch.nn.functional.one_hot(torch.tensor(said), num_classes).float()
    return class_scores(logits, torch.tensor(labels))


def test_a_thousand_good_parts_and_ten_cracked_ones_do_not_reward_good() -> None:
    found = answers([0] * 1000 + [1] * 10, [0] * 1010, num_classes=2)
    assert found.top1 == pytest.approx(1000 / 1010)
    assert found.recall == (1.0, 0.0)
    assert found.balanced_accuracy == 0.5
    low, high = found.balanced_interval
    assert low < 0.5 < high < 0.7


def test_counts_by_hand() -> None:
    found = answers([0, 0, 1, 1, 1], [0, 1, 1, 1, 2])
    assert found.confusion == ((1, 1, 0), (0, 2, 1), (0, 0, 0))
    assert found.is_right == (True, False, True, True, False)
    assert found.recall == pytest.approx((0.5, 2 / 3, None))
    assert found.balanced_accuracy == pytest.approx((0.5 + 2 / 3) / 2)
    shown = found.of_classes(["a", "b", "c"]).to_json()
    assert shown["recall"] == {"a": 0.5, "b": pytest.approx(2 / 3), "c": None}
    assert shown["confusion"]["counts"][1] == [0, 2, 1]
    assert shown["num_images_by_class"] == {"a": 2, "b": 3, "c": 0}
    assert shown["recall_interval"] == {"a": list(wilson_interval(1, 2)), "b": list(wilson_interval(2, 3)), "c": None}


def test_answers_outside_the_classes_shown_are_wrong() -> None:
    found = answers([0, 0, 1, 1, 1], [0, 2, 1, 1, 2]).restricted_to([0, 1])
    assert found.confusion == ((1, 0), (0, 2))
    assert found.recall == pytest.approx((0.5, 2 / 3))
    assert found.top1 == 0.6


def test_the_balanced_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, sizes = np.array([0.95, 0.6]), (400, 25)
    covered = 0
    for _ in range(400):
        hits = [int(rng.binomial(n, p)) for n, p in zip(sizes, truth, strict=True)]
        labels = [0] * sizes[0] + [1] * sizes[1]
        said = [0] * hits[0] + [1] * (sizes[0] - hits[0]) + [1] * hits[1] + [0] * (sizes[1] - hits[1])
        low, high = answers(labels, said, num_classes=2).balanced_interval
        covered += low <= truth.mean() <= high
    assert 0.92 <= covered / 400 <= 0.99


def test_one_image_apart_is_equal_and_a_real_difference_is_not() -> None:
    rng = np.random.default_rng(1)
    kl = rng.exponential(0.1, 256)
    assert is_equal(kl, kl)
    assert is_equal(kl, kl + rng.normal(0, 0.05, 256) * 0.1)
    assert not is_equal(kl, kl * 1.5)
    assert not is_equal(kl * 1.5, kl)
    noisy = kl + rng.normal(0, 0.5, 256)
    noisy += kl.mean() * 1.2 - noisy.mean()  # 20 % worse, and lost in the noise: not shown to be equal
    assert not is_equal(kl, noisy)


def test_a_threshold_keeps_19_of_20_right_answers_and_asks_no_wrong_one() -> None:
    likeliest = torch.linspace(0.51, 0.99, 100)
    logits = torch.stack([likeliest.logit(), torch.zeros(100)], dim=1)
    labels = torch.zeros(100, dtype=torch.long)
    labels[::2] = 1  # every other answer is wrong, and says nothing about where right ones lie
    threshold = none_threshold(logits, labels)
    right = likeliest[1::2].double()
    assert threshold is not None
    assert threshold == pytest.approx(float(right.sort().values[2]), abs=1e-6)
    assert (right >= threshold - 1e-6).double().mean() >= 0.95
    assert none_threshold(logits, torch.ones(100, dtype=torch.long)) is None


def test_the_bootstrap_agrees_with_the_normal_interval_where_that_holds() -> None:
    values = np.random.default_rng(2).normal(1.0, 2.0, 900)
    low, high = bootstrap_interval(values)
    wanted = 1.96 * values.std() / 30
    assert high - values.mean() == pytest.approx(wanted, rel=0.1)
    assert values.mean() - low == pytest.approx(wanted, rel=0.1)
    assert bootstrap_interval(values) == (low, high)
