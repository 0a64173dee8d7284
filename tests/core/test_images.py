import io
import resource
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fit_image import MAX_ASPECT
from nuwa_search.core.images import CropMode, ImageSet, Interpolation, Preprocess, crop, pixels, pixels_and_turns
from nuwa_search.core.logits import normalise
from nuwa_search.core.preprocess_config import preprocess_from_config
from nuwa_search.core.weights import require_finite

SIZES = [(64, 64), (57, 91), (91, 57), (224, 31), (30, 40), (7, 5), (400, 300), (8, 128)]
"""Width and height: square, upright, long, smaller and larger than the target, odd and even."""


def picture(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """Draw smooth colours with some noise: a scaling that is off by a pixel shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = smooth + rng.integers(-20, 20, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one(data: bytes) -> ImageSet:
    return ImageSet([data], np.zeros(1, dtype=np.int64), ("x",), "here")


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("pct", [1.0, 0.9, 0.875, 0.95, 1.1])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos", "box", "hamming"])
def test_pixels_are_those_of_timm(mode: str, pct: float, interpolation: str) -> None:
    config = {"crop_pct": pct, "crop_mode": mode, "interpolation": interpolation, "mean": 0.4, "std": [0.2]}
    preprocess = preprocess_from_config(config, img_size=56, in_chans=3, where="base")
    transform = create_transform(
        (3, 56, 56), interpolation=interpolation, mean=(0.4,) * 3, std=(0.2,) * 3, crop_pct=pct, crop_mode=mode
    )
    for seed, size in enumerate(SIZES):
        image = picture(*size, seed=seed)
        found = normalise(torch.from_numpy(pixels(one(encode(image)), preprocess)), preprocess)
        torch.testing.assert_close(found[0], transform(image), rtol=0, atol=1e-5, msg=f"{size}: {{}}".format)


@pytest.mark.parametrize(("size", "pct", "scaled"), [(224, 0.9, 248), (224, 0.875, 256), (384, 0.95, 404)])
def test_resizing_floors_as_timm_does(size: int, pct: float, scaled: int) -> None:
    image = picture(scaled, scaled)
    found = crop(image, Preprocess(size, crop_pct=pct))
    first = (scaled - size) // 2
    expected = np.asarray(image)[first : first + size, first : first + size]  # nothing is left to scale
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])
def test_every_8_bit_mode_is_what_timms_loader_makes_of_it(mode: str) -> None:
    plain = picture(40, 30)
    if mode == "PA":
        plain = plain.convert("P")
    image = plain.convert(mode)
    kind = {"YCbCr": "TIFF", "CMYK": "TIFF", "RGBX": "TIFF", "PA": "TIFF"}.get(mode, "PNG")
    data = encode(image, kind)
    with Image.open(io.BytesIO(data)) as again:
        np.testing.assert_array_equal(np.asarray(decode_image(data).rgb), np.asarray(again.convert("RGB")))


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    image = picture(20, 20).convert("P")
    data = encode(image, "PNG", transparency=3)
    np.testing.assert_array_equal(np.asarray(decode_image(data).rgb), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF big-endian", "PPM", "TIFF of 32 bits"])
def test_16_bit_grey_gives_its_high_byte(kind: str) -> None:
    grey = np.asarray(picture(30, 20).convert("L"), dtype=np.uint16) * 257  # 8 bits spread over 16, as writers do
    image = Image.fromarray(grey)
    if kind == "TIFF big-endian":
        image = Image.frombytes("I;16B", (30, 20), grey.astype(">u2").tobytes())
    elif kind == "TIFF of 32 bits":
        image = Image.fromarray(grey.astype(np.int32))
    rgb = np.asarray(decode_image(encode(image, kind.split()[0])).rgb)
    np.testing.assert_array_equal(rgb, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 4), 0.5, dtype=np.float32),
        np.full((4, 4), 70_000, dtype=np.int32),
        np.full((4, 4), -1, dtype=np.int32),
        np.full((4, 4), 200, dtype=np.int32),
    ],
)
def test_ranges_that_are_not_told_are_refused_by_file_name(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "depth.tiff"
    path.write_bytes(encode(Image.fromarray(values), "TIFF"))
    images = ImageSet([path], np.zeros(1, dtype=np.int64), ("x",), "here")
    with pytest.raises(NuwaError, match=r"depth\.tiff is not a readable image: .* range"):
        pixels(images, Preprocess(8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_pictures_upright(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 32), "black")
    upright.paste((255, 255, 255), (0, 0, 16, 8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # each turn's own inverse, by Pillow's number
    lying = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    found, num_turned = pixels_and_turns(one(encode(lying, kind, exif=exif, **options)), Preprocess(32))
    assert np.abs(found[0].transpose(1, 2, 0).astype(int) - np.asarray(upright)).max() < 30
    assert num_turned == (orientation != 1)


def test_the_first_pipeline_leaves_pictures_as_they_lie() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(31, 31)
    first = Preprocess(28, crop_pct=0.9, pipeline=1)
    found = pixels(one(encode(image, exif=exif)), first)
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), np.asarray(image)[1:29, 1:29])  # 31 = round(28 / 0.9)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "hamming"])
@pytest.mark.parametrize("upright", [True, False])
def test_the_middle_of_a_thin_picture_is_that_of_the_whole(interpolation: Interpolation, upright: bool) -> None:
    for long in (MAX_ASPECT * 8 + 1, 200, 333, 2000):
        image = picture(8, long) if upright else picture(long, 8)
        pre = Preprocess(24, crop_pct=0.9, interpolation=interpolation)
        transform = create_transform((3, 24, 24), interpolation=interpolation, crop_pct=0.9, crop_mode="center")
        whole = (transform(image) * torch.tensor(pre.std)[:, None, None] + torch.tensor(pre.mean)[:, None, None]) * 255
        difference = np.abs(crop(image, pre).transpose(2, 0, 1) - whole.numpy())
        assert difference.max() < 1.01


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_very_thin_picture_takes_little_memory(size: tuple[int, int], mode: CropMode) -> None:
    data = encode(Image.new("RGB", size, (10, 200, 30)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = pixels(one(data), Preprocess(224, crop_mode=mode))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB; as a whole it takes 9 GB
    assert found[0, :, 111, 111].tolist() == [10, 200, 30]


def test_a_file_that_claims_many_pixels_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode(Image.new("L", (8, 8))))
    data[16:24] = (60_000).to_bytes(4, "big") * 2

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(NuwaError, match="is not a readable image"):
        pixels(one(bytes(data)), Preprocess(8))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"interpolation": "random"}, "unknown interpolation 'random'"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'"),
        ({"crop_mode": "fit"}, "unknown crop_mode 'fit'"),
        ({"mean": [123.7, 116.3, 103.5]}, "outside 0..1"),
        ({"std": 58.4}, "outside 0..1"),
        ({"std": [0.2, 0.0, 0.2]}, "outside 0..1, or zero"),
        ({"mean": [0.5, float("nan"), 0.5]}, "neither a number"),
        ({"mean": [0.5, 0.5]}, "2 values, wanted one for each of 3 channels"),
        ({"std": "0.5"}, "neither a number"),
        ({"std": True}, "neither a number"),
        ({"crop_pct": -0.9}, "crop_pct"),
        ({"crop_pct": float("inf")}, "crop_pct"),
        ({"crop_pct": 1e-9}, "crop_pct"),
    ],
)
def test_descriptions_of_images_that_cannot_be_meant_are_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(NuwaError, match=rf"base cannot be fed: .*{message}"):
        preprocess_from_config(config, img_size=32, in_chans=3, where="base")


def test_a_single_mean_stands_for_all_channels() -> None:
    found = preprocess_from_config({"mean": 0.5, "std": [0.25]}, img_size=32, in_chans=3, where="base")
    assert (found.mean, found.std, found.crop_pct) == ((0.5,) * 3, (0.25,) * 3, 0.875)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    tensors = {"a.weight": torch.ones(3), "b.bias": torch.tensor([1.0, value])}
    with pytest.raises(NuwaError, match=r"b\.bias holds 1 values"):
        require_finite(tensors, origin="base")
