"""IoU from pixel counts, against counting by hand."""

import numpy as np
import pytest
import torch

from nuwa_search.core.tasks.label_maps import class_shares, label_map, upsampled
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.core.tasks.pixel_scores import PixelTally

SIZES = ((5, 7), (9, 4), (6, 6), (8, 3))


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Answers and truths of four images of different sizes; class 3 is answered and never true."""
    rng = np.random.default_rng(3)
    out = []
    for size in SIZES:
        truth = rng.choice([0, 0, 0, 1, 2, IGNORED], size).astype(np.uint8)
        answer = np.where(rng.random(size) < 0.6, truth % IGNORED, rng.integers(0, 4, size))
        out.append((answer.astype(np.int64), truth))
    return out


def test_iou_is_that_of_all_pixels_together(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    tally = PixelTally(4)
    shared, either = np.zeros(4), np.zeros(4)
    right = seen = 0
    for answer, truth in pairs:
        tally.add_answer(answer, truth)
        for said, true in zip(answer.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if true == IGNORED:
                continue
            seen += 1
            right += said == true
            for k in range(4):
                shared[k] += said == k and true == k
                either[k] += said == k or true == k
    scores = tally.scores()
    assert scores.iou[3] is None
    assert scores.iou[:3] == pytest.approx(shared[:3] / either[:3])
    assert scores.miou == pytest.approx(float((shared[:3] / either[:3]).mean()))
    assert scores.pixel_accuracy == right / seen
    assert scores.of_classes(("a", "b", "c", "d")).classes_without_pixels == ("d",)


def test_the_interval_is_of_images_drawn_again(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    tally = PixelTally(4)
    for answer, truth in pairs:
        tally.add_answer(answer, truth)
    scores = tally.scores()
    rng = np.random.default_rng(0)
    draws = rng.multinomial(4, [0.25] * 4, size=2000)
    mious: list[float] = []
    for draw in draws:
        again = PixelTally(4)
        for times, (answer, truth) in zip(draw.tolist(), pairs, strict=True):
            for _ in range(times):
                again.add_answer(answer, truth)
        if len(mious) < 50:
            mious.append(again.scores().miou)
    known = [np.nanmean(row) for row in scores._resampled[:50]]
    assert known == pytest.approx(mious)
    low, high = scores.miou_interval
    assert low < scores.miou < high
    right = PixelTally(4)
    for _, truth in pairs:
        right.add_answer(np.where(truth == IGNORED, 0, truth).astype(np.int64), truth)
    ahead = right.scores().ahead_of(scores)
    assert ahead == pytest.approx((1 - scores.miou, 1 - high, 1 - low)), (
        "1 in every resample: what is left is the other's"
    )
    assert scores.ahead_of(scores) == (0.0, 0.0, 0.0)


def test_a_label_map_is_the_argmax_of_scaled_logits() -> None:
    logits = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0))
    for size in ((4, 4), (13, 9), (3, 2)):
        assert torch.equal(label_map(logits, size), upsampled(logits[None], size)[0].argmax(dim=0))


def test_shares_leave_out_what_is_ignored() -> None:
    masks = torch.tensor([[[0, 1, 2, 2], [1, 1, 2, IGNORED], [0, 0, 0, 0], [0, 0, 0, 0]]], dtype=torch.uint8)
    shares = class_shares(masks, num_classes=3, grid=(2, 2))
    assert shares[0, :, 0, 0].tolist() == [0.25, 0.75, 0.0]
    assert shares[0, :, 0, 1].tolist() == [0.0, 0.0, 0.75]
    assert shares[0, :, 1].sum() == 2
