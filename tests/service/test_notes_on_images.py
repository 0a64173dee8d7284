"""What is left out of the user's images is said, in words and in JSON."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuwa_search.service.cli.main import cli, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a data set with an empty class, a picture that lies, and a test image among the training images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("bicycle", "bus"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for k in range(count):
                values = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(values).save(tmp_path / "data" / split / name / f"{k}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = tmp_path / "data" / "test" / "bus" / "0.png"
    Image.open(io.BytesIO(lying.read_bytes())).save(lying, exif=exif)
    (tmp_path / "data" / "train" / "bus" / "copy.png").write_bytes(lying.read_bytes())
    (tmp_path / "data" / "train" / "van").mkdir()
    return tmp_path / "data"


EMPTY = "class folders without images are ignored: van"
COPIES = "images of the training data that are in the test split too are left out of it: 1"


def test_evaluating_says_what_was_left_out_and_turned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["evaluate", "default", "--data", str(folder), "--json"], prog_name="nuwa") == 0
    shown = capsys.readouterr()
    expected = [EMPTY, "pictures turned upright, as their EXIF tells: 1 of 4"]
    assert json.loads(shown.out)["notes"] == expected
    assert all(note in shown.err for note in expected)


def test_a_dry_run_says_what_a_search_would_leave_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["search", "--budget-ms", "5", "--base", "default", "--data", str(folder), "--dry-run", "--json"]
    line += ["-o", str(tmp_path / "b")]
    assert run(cli, [*line, "--db", str(tmp_path / "n.sqlite")], prog_name="nuwa") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["notes"] == [EMPTY, COPIES]
    assert COPIES in shown.err
