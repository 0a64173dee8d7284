"""The program in a bundle that labels pixels: its arithmetic, and the Python it is written for."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nuwa_search.core.tasks.label_maps import label_map
from nuwa_search.deploy.assets import segmenter

ASSETS = Path(segmenter.__file__).parent


@pytest.mark.parametrize("size", [(8, 8), (5, 13), (21, 17)])
def test_answers_are_scaled_as_they_are_scored(size: tuple[int, int]) -> None:
    logits = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = segmenter.likeliest(logits.numpy(), size)
    wanted = label_map(logits, (size[1], size[0])).numpy()
    assert (found == wanted).mean() > 0.99  # the last bit decides between equals


def test_an_overlay_leaves_the_background_and_colours_stay(tmp_path: Path) -> None:
    from PIL import Image

    labels = np.zeros((4, 6), np.uint8)
    labels[1, 2:4] = (1, 3)
    frame = Image.fromarray(np.full((4, 6, 3), 100, np.uint8))
    answer = segmenter.FrameLabels(labels, np.zeros(4), frame)
    laid = np.asarray(answer.overlay())
    assert (laid[labels == 0] == 100).all()
    colours = np.asarray(segmenter.palette(4))
    assert laid[1, 2] == pytest.approx(50 + colours[1] / 2, abs=1)
    assert segmenter.palette(4) == segmenter.palette(9)[:4]
    assert len(set(segmenter.palette(256))) == 256
    answer.picture().save(tmp_path / "labels.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "labels.png")), labels)


@pytest.mark.parametrize("name", ["segmenter.py", "run_maps.py"])
def test_programs_need_little_and_parse_on_the_boards_python(name: str) -> None:
    tree = ast.parse((ASSETS / name).read_text(), feature_version=(3, 6))
    found = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    found |= {str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {n for n in found if n not in sys.stdlib_module_names} <= {"numpy", "PIL"}
