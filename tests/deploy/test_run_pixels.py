"""The bundle's own classifier.py makes the pixels that the model was scored on."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nuwa_search.core.images import CropMode, ImageSet, Interpolation, Preprocess, pixels
from nuwa_search.deploy.assets import classifier
from tests.core.test_images import SIZES, encode, picture


def agree(path: Path, preprocess: Preprocess) -> None:
    images = ImageSet([path], np.zeros(1, dtype=np.int64), ("x",), "here")
    told = asdict(preprocess)
    found = classifier.crop(classifier.read_image(path, told), told)
    np.testing.assert_array_equal(found.transpose(2, 0, 1), pixels(images, preprocess)[0])


INTERPOLATIONS: tuple[Interpolation, ...] = ("bicubic", "bilinear", "nearest", "lanczos")


@pytest.mark.parametrize("pipeline", [1, 2])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_pixels_agree(tmp_path: Path, pipeline: int, mode: CropMode) -> None:
    for k, size in enumerate((*SIZES, (3, 600), (600, 3))):
        path = tmp_path / f"{k}.png"
        path.write_bytes(encode(picture(*size, seed=k)))
        for pct in (1.0, 0.9, 1.1) if pipeline == 2 else (1.0, 0.9):
            interpolation = INTERPOLATIONS[k % 4]
            agree(path, Preprocess(56, (0.5, 0.4, 0.3), (0.2,) * 3, interpolation, pct, pipeline, mode))


@pytest.mark.parametrize("size", [(56, 40), (24, 72)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_pixels_of_oblong_images_agree(tmp_path: Path, size: tuple[int, int], mode: CropMode) -> None:
    for k, picture_size in enumerate((*SIZES, (3, 600), (600, 3))):
        path = tmp_path / f"{k}.png"
        path.write_bytes(encode(picture(*picture_size, seed=k)))
        agree(path, Preprocess(size, (0.5, 0.4, 0.3), (0.2,) * 3, INTERPOLATIONS[k % 4], (1.0, 0.9)[k % 2], 2, mode))


def test_sizes_of_preprocess_json_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.json"
    told = asdict(Preprocess((56, 40)))
    path.write_text(json.dumps(told))
    assert classifier.sides_of(classifier.read_preprocess(path)) == (56, 40)
    for wrong in ([56], [56, 40, 3], [56, 0], [56, 40.5], "56x40", [[56], 40]):
        path.write_text(json.dumps(told | {"img_size": wrong}))
        with pytest.raises(ValueError, match="gives img_size as"):
            classifier.read_preprocess(path)
    path.write_text(json.dumps(told | {"pipeline": 1}))
    with pytest.raises(ValueError, match="made squares only"):
        classifier.read_preprocess(path)
    with pytest.raises(ValueError, match=r"makes images \(3, 56, 40\)"):
        classifier.check_shape((1, 3, 40, 56), (56, 40))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_alike(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encode(picture(40, 30), kind, exif=exif))
    agree(path, Preprocess(32))


def test_kinds_of_pixels_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    for mode in ("1", "L", "LA", "P", "RGBA"):
        path.write_bytes(encode(picture(40, 30).convert(mode)))
        agree(path, Preprocess(32))
    grey = np.asarray(picture(40, 30).convert("L"), dtype=np.uint16) * 200
    for image, kind in ((Image.fromarray(grey), "PNG"), (Image.fromarray(grey.astype(np.int32)), "TIFF")):
        path.write_bytes(encode(image, kind))
        agree(path, Preprocess(32))
    path.write_bytes(encode(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))
    with pytest.raises(ValueError, match="range of its colour mode F"):
        classifier.read_image(path, asdict(Preprocess(8)))
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    with pytest.raises(ValueError, match="format EPS is not decoded"):  # Pillow would start a program
        classifier.read_image(path, asdict(Preprocess(8)))
