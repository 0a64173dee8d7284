from pathlib import Path

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.predictors.contract import Prediction
from nuwa_search.predictors.report_card import Baselines, Errors, ReportCard
from nuwa_search.predictors.report_plot import plot_card

ERRORS = Errors(0.01, 1.0, 1.0, 0.99, 0.95)
CARD = ReportCard(4, ERRORS, 0.75, 0.1, 0.0, 0.9, 0.004, Baselines(ERRORS, ERRORS), ERRORS)
MEASURED = np.array([1.0, 2.0, 3.0, 5.0])
PREDICTION = Prediction(*np.array([[1.02, 2.04, 3.06, 4.8], [0.97, 1.94, 2.91, 4.7], [1.1, 2.1, 3.2, 4.9]]))


@pytest.mark.parametrize(("name", "magic"), [("card.png", b"\x89PNG"), ("card.svg", b"<?xml")])
def test_cards_are_drawn(tmp_path: Path, name: str, magic: bytes) -> None:
    path = tmp_path / name
    plot_card(CARD.to_json(), PREDICTION, MEASURED, path, title="formula (measured)")
    assert path.read_bytes().startswith(magic)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match=r"card\.bmp"):
        plot_card(CARD.to_json(), PREDICTION, MEASURED, tmp_path / "card.bmp", title="")
