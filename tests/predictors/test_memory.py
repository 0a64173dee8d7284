"""The memory estimate by closed form: the base's figure, less the weights that were cut, never below a measurement."""

import dataclasses

import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import Precision
from nuwa_search.predictors.memory import MemoryEstimate

BASE = Arch(blocks=(BlockSpec(2, 16, 16, 64),) * 3, embed_dim=64, num_classes=5, img_size=16, patch_size=8)
CUT = dataclasses.replace(BASE, blocks=(*BASE.blocks[:2], BlockSpec(2, 16, 16, 32)))


@pytest.mark.parametrize(("precision", "weight_bytes"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_it_is_the_bases_less_the_weights_that_were_cut(precision: Precision, weight_bytes: int) -> None:
    # 32 hidden units less: two matrices of 64 x 32 and 32 biases
    assert count_params(BASE) - count_params(CUT) == 2 * 64 * 32 + 32
    estimate = MemoryEstimate(BASE, 20.0, precision)
    assert estimate.predict_mb([BASE, CUT]) == pytest.approx([20.0, 20.0 - 4128 * weight_bytes / 2**20])


def test_a_miss_raises_it_to_what_was_measured_and_it_stays_an_upper_bound() -> None:
    estimate = MemoryEstimate(BASE, 20.0, "fp32").corrected(CUT, 25.0)
    assert estimate.predict_mb([CUT])[0] == pytest.approx(25.0)
    again = estimate.corrected(BASE, 18.0)  # less than estimated: no reason to promise less
    assert again.predict_mb([CUT])[0] == pytest.approx(25.0)
    assert again.corrected(BASE, 27.0).predict_mb([BASE])[0] == pytest.approx(27.0)
