"""What boards answered for pixels: counts, rows of text, and images that are no test of them."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.tasks.masks import IGNORED, checked_masks
from nuwa_search.deploy.assets.run_maps import keep_images
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.lab.collaborate import CollaborateRun
from nuwa_search.lab.collaborate_accuracy import accuracy_fields, labelled_images
from nuwa_search.lab.collaborate_pixels import count_pixels
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_masks import CLASSES, write_masks

BOARDS_OF_PIXELS = cast(Collaboration, SimpleNamespace(grid=(2, 2), labels=CLASSES))


def answered(scores: Floats | None) -> CollaborativeAnswer:
    boards = () if scores is None else ("nano",)
    missing = (("nano", "away"),) if scores is None else ()
    return CollaborativeAnswer(0, None, None, None, 5.0, boards, boards, missing, 0, 0, scores)


def one_hot(labels: "np.typing.NDArray[np.uint8]") -> Floats:
    return np.asarray(labels[None] == np.arange(len(CLASSES))[:, None, None], np.float32)


def png(values: "np.typing.NDArray[np.uint8]") -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def test_no_pixel_of_an_unanswered_picture_is_right() -> None:
    truth = np.array([[0, 0], [1, IGNORED]], np.uint8)
    files = [png(truth), png(truth)]
    masks = checked_masks(files, files, class_names=CLASSES, names=("a", "b"))
    images = ImageSet(files, np.zeros(2, np.int64), CLASSES, "toy", masks)
    answers = [answered(one_hot(np.array([[0, 1], [1, 2]], np.uint8))), answered(None)]
    found = count_pixels(answers, images, num_classes=3)
    assert found.iou == (1 / 4, 1 / 3, None), "1 of the 4 background pixels; 1 of 2 squares, and one wrongly so"
    assert found.pixel_accuracy == 2 / 6
    told = accuracy_fields(answers, images, BOARDS_OF_PIXELS)
    assert told["miou"] == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert told["classes_without_pixels"] == ("stripe",)


def test_rows_of_pixels_have_their_answers_whichever_picture_is_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = (answered(None), answered(np.zeros((3, 2, 2), np.float32)))
    shares: Any = (None, {"background": 0.75, "square": 0.25, "stripe": 0.0})
    ran = CollaborateRun("fuse", ("a.png", "b.png"), answers, {}, shares)
    monkeypatch.setattr("nuwa_search.lab.collaborate.collaborate_run", lambda *_, **__: ran)
    assert run(cli, ["collaborate", "run", "folder", "photos"], prog_name="nuwa") == 1
    head, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head[:3] == ["image", "pixels", "latency"]
    assert [row[:2] for row in rows] == [["a.png", "no answer"], ["b.png", "background 75.0 %, square 25.0 %"]]


def test_masks_that_say_nothing_are_no_benchmark(tmp_path: Path) -> None:
    data = write_masks(tmp_path / "masks", num_train=1, num_test=2)
    wanted: dict[str, Any] = {"split": None, "label_column": None, "count": 5, "seed": 0}
    assert len(labelled_images(BOARDS_OF_PIXELS, data, **wanted)) == 2
    for path in (data / "test" / "masks").iterdir():
        Image.fromarray(np.full((24, 32), IGNORED, np.uint8)).save(path)
    with pytest.raises(NuwaError, match=r"every pixel of the masks of the test images .* is 255"):
        labelled_images(BOARDS_OF_PIXELS, data, **wanted)


def test_label_maps_are_not_written_over_pictures(tmp_path: Path) -> None:
    other, photos = tmp_path / "other", tmp_path / "photos"
    keep_images([photos / "a.png", other / "a.png", photos / "b.jpg"], tmp_path / "maps")
    keep_images([photos / "a.jpg", photos / "b.jpg"], photos)
    for images in (["a.png"], ["b.jpg", "b.png"], ["a.jpg", "a.overlay.png"]):
        with pytest.raises(ValueError, match=r"is one of the images"):
            keep_images([photos / name for name in images], photos)
    with pytest.raises(ValueError, match=r"a-2\.png is one of the images"):
        keep_images([other / "a.png", photos / "a.jpg", photos / "a-2.png"], photos)
