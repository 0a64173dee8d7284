"""What every predictor over archs must do.

A fixture ``predictor`` gives one that was not fitted, a fixture ``rows`` archs with values to fit it to, more than it
needs.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Predictor

Rows = tuple[Sequence[Arch], Sequence[float]]


class PredictorContract:
    """Fits and predicts with an interval. Subclass it as ``TestMine`` beside the fixtures."""

    def test_it_predicts_a_number_inside_an_interval(self, predictor: Predictor, rows: Rows) -> None:
        archs, values = rows
        assert predictor.fit(archs, values) is predictor
        found = predictor.predict(archs)
        for part in (found.value, found.lower, found.upper):
            assert part.shape == (len(archs),)
            assert part.dtype == np.float64
        assert np.isfinite(found.value).all()
        assert np.isfinite(found.lower).all()
        assert (found.lower <= found.value).all()
        assert (found.value <= found.upper).all()
        assert 0 < predictor.coverage < 1

    def test_a_batch_is_its_archs(self, predictor: Predictor, rows: Rows) -> None:
        archs, values = rows
        predictor.fit(archs, values)
        together = predictor.predict(archs[:3])
        for place, arch in enumerate(archs[:3]):
            alone = predictor.predict([arch])
            for one, all_of_them in zip(vars(alone).values(), vars(together).values(), strict=True):
                assert one[0] == pytest.approx(all_of_them[place], rel=1e-6)

    def test_a_fit_forgets_the_one_before(self, predictor: Predictor, rows: Rows) -> None:
        archs, values = rows
        once = predictor.fit(archs, values).predict(archs)
        again = predictor.fit(archs, [2 * value for value in values]).fit(archs, values).predict(archs)
        np.testing.assert_allclose(again.value, once.value, rtol=1e-6)
        np.testing.assert_allclose(again.upper, once.upper, rtol=1e-6)

    def test_nothing_to_fit_to_is_refused(self, predictor: Predictor) -> None:
        with pytest.raises(NuwaError):
            predictor.fit([], [])
