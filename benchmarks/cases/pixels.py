"""From an image file to network input."""

import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data import create_transform

from benchmarks.cases.base_files import write_base
from benchmarks.cases.frame import case, part


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """Draw waves of all lengths, so that a scaling that is off shows."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * x / 90 + k) + np.cos(y * y / 70 - k) for k in range(3)]
    return Image.fromarray(((np.stack(waves, axis=-1) + 2) * 63).astype(np.uint8))


def pixels(data: bytes, preprocess: Any) -> Any:
    images = part("core.images")
    return images.pixels(images.ImageSet([data], np.zeros(1, dtype=np.int64), ("x",), "here"), preprocess)[0]


def grey(kind: str) -> str:
    """Show four shades, 20 to 80 % of white, as an 8-bit writer would have written them in 16 bits."""
    shades = np.repeat(np.asarray([51, 102, 153, 204], dtype=np.uint16) * 257, 8)
    image = Image.fromarray(np.tile(shades, (32, 1)))
    found = pixels(encode(image, kind), part("core.images").Preprocess(32))
    return " ".join(str(found[0, 16, 4 + 8 * k]) for k in range(4))


@case("pixels: 16-bit PNG of the shades 51 102 153 204", right="51 102 153 204")
def png16(folder: Path) -> str:
    return grey("PNG")


@case("pixels: 16-bit TIFF of the shades 51 102 153 204", right="51 102 153 204")
def tiff16(folder: Path) -> str:
    return grey("TIFF")


@case("pixels: floating-point TIFF of 0..1", right="refused")
def floats(folder: Path) -> str:
    image = Image.fromarray(np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32))
    found = pixels(encode(image, "TIFF"), part("core.images").Preprocess(32))
    return f"shades {found.min()} to {found.max()}"


@case("pixels: 32-bit TIFF of 0..100000", right="refused")
def ints(folder: Path) -> str:
    image = Image.fromarray(np.linspace(0, 100_000, 1024).astype(np.int32).reshape(32, 32))
    found = pixels(encode(image, "TIFF"), part("core.images").Preprocess(32))
    return f"{(found == 255).mean():.0%} white"


@case("pixels: JPEG lying on its side, EXIF says which; where is its white top", right="top")
def exif(folder: Path) -> str:
    upright = Image.new("L", (32, 32))
    upright.paste(255, (0, 0, 32, 8))
    turn = Image.Exif()
    turn[0x0112] = 6
    data = encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turn)
    found = pixels(data, part("core.images").Preprocess(32))[0]
    sides = {"top": found[:8], "bottom": found[-8:], "left": found[:, :8], "right": found[:, -8:]}
    return max(sides, key=lambda side: float(sides[side].mean()))


def against_timm(folder: Path, size: tuple[int, int] = (90, 61), **images: Any) -> str:
    """Hold a base's pixels against timm's own transform, made of the same configuration."""
    base = part("core.base").load_base(str(write_base(folder, images=images)))
    found = pixels(encode(scene(*size)), base.preprocess).astype(float)
    transform = create_transform(
        (3, 32, 32),
        interpolation=images.get("interpolation", "bicubic"),
        crop_pct=images.get("crop_pct", 1.0),
        crop_mode=images.get("crop_mode", "center"),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    expected = (transform(scene(*size)).numpy() + 1) * 127.5
    return f"{round(float(np.abs(found - expected).max()))} of 255 off timm"


@case("pixels: crop_mode squash", right="0 of 255 off timm")
def squash(folder: Path) -> str:
    return against_timm(folder, crop_mode="squash")


@case("pixels: crop_mode border", right="0 of 255 off timm")
def border(folder: Path) -> str:
    return against_timm(folder, crop_mode="border")


@case("pixels: crop_pct 0.9, whose scaled side is no whole number", right="0 of 255 off timm")
def floor(folder: Path) -> str:
    return against_timm(folder, crop_pct=0.9)


@case("pixels: interpolation box", right="0 of 255 off timm")
def box(folder: Path) -> str:
    return against_timm(folder, interpolation="box")


@case("pixels: interpolation random", right="refused")
def random_interpolation(folder: Path) -> str:
    return str(part("core.base").load_base(str(write_base(folder, images={"interpolation": "random"}))).preprocess)


@case("pixels: crop_mode fit, which is none", right="refused")
def no_mode(folder: Path) -> str:
    return str(part("core.base").load_base(str(write_base(folder, images={"crop_mode": "fit"}))).preprocess)


@case("pixels: a single mean and std", right="(0.5, 0.5, 0.5) (0.25, 0.25, 0.25)")
def scalar(folder: Path) -> str:
    base = part("core.base").load_base(str(write_base(folder, images={"mean": 0.5, "std": 0.25})))
    return f"{base.preprocess.mean} {base.preprocess.std}"


def described(folder: Path, **images: Any) -> str:
    found = part("core.base").load_base(str(write_base(folder, images=images))).preprocess
    return f"accepted: mean {found.mean}, std {found.std}"


@case("pixels: mean and std of values 0..255", right="refused")
def large(folder: Path) -> str:
    return described(folder, mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])


@case("pixels: a std of zero", right="refused")
def zero(folder: Path) -> str:
    return described(folder, std=[0.2, 0.0, 0.2])


@case("pixels: a mean that is NaN", right="refused")
def nan_mean(folder: Path) -> str:
    return described(folder, mean=[0.5, math.nan, 0.5])


@case("pixels: a base with a NaN weight", right="refused")
def nan_weight(folder: Path) -> str:
    base = part("core.base").load_base(str(write_base(folder, broken=math.nan)))
    return f"accepted: {base.arch.num_classes} outputs"


@case("pixels: a picture of 1 x 30 000 pixels at 224, memory in use at its end", right="below 400 MB more")
def thin(folder: Path) -> str:
    """Run in a process of its own, since memory is taken at its peak."""
    (folder / "thin.png").write_bytes(encode(Image.new("RGB", (1, 30_000), (10, 200, 30))))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from benchmarks.cases.pixels import pixels\nfrom benchmarks.cases.frame import part\n"
        "pre = part('core.images').Preprocess(224); peak = lambda: resource.getrusage(0).ru_maxrss // 1000\n"
        "before = peak(); pixels(Path(sys.argv[1]).read_bytes(), pre); more = peak() - before\n"
        "print('below 400 MB more' if more < 400 else f'{more / 1000:.0f} GB more')"
    )
    line = [sys.executable, "-c", code, str(folder / "thin.png")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.splitlines()[-1]
