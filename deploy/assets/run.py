"""Classify images with the model in this folder: numpy, pillow and onnxruntime are all it takes.

python run.py photo.jpg               one image
python run.py photos/ --json          every image below a folder, as JSON
python run.py photo.jpg --repeat 100  time it
python run.py photo.jpg --engine model.engine    on a board, with its own TensorRT
"""

import argparse
import importlib
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpf",
        ".jpg",
        ".jpx",
        ".mpo",
        ".pbm",
        ".pcx",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
WARMUP_RUNS = 3  # the first runs allocate
MAX_TEXT_BYTES = 8 * 2**20  # of one of the bundle's own files of text
MAX_SIDE = 16384  # of the images that a model takes
MAX_BATCH = 4096
RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
MAX_PIXELS = 89478485  # of one file: where Pillow begins to warn of decompression bombs
MAX_ASPECT = 16  # of a picture that is scaled as a whole
MAX_SUPPORT = 4  # pixels that a filter may see on either side, and one more
PLAIN_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
ORIENTATION = 0x0112  # EXIF: how a picture must be turned to stand upright
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # to Pillow's transpositions, whose names moved with its versions


class OnnxModel:
    """The model on ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ValueError(f"{path.name} cannot be loaded: {first_line(error)}") from error
        if len(self.session.get_inputs()) != 1:
            raise ValueError(f"{path.name} takes {len(self.session.get_inputs())} inputs, wanted one of images")
        image = self.session.get_inputs()[0]
        self.name = image.name
        self.shape = tuple(image.shape)
        self.input_kind = self.session.get_modelmeta().custom_metadata_map.get("nuwa.input", "normalised")
        self.runtime = "onnxruntime " + onnxruntime.__version__

    def run(self, images: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Map one batch to logits (B, num_classes)."""
        try:
            logits: np.ndarray[Any, Any] = self.session.run(None, {self.name: images})[0]
        except Exception as error:  # as above
            raise ValueError("the model cannot be run: " + first_line(error)) from error
        return logits


def main() -> int:
    """Run the command line; the exit code is 2 for wrong use."""
    args = parse_args()
    paths = find_images(args.images)
    if not paths:
        sys.stderr.write("no images in " + " ".join(args.images) + "\n")
        return 2
    labels = read_text(HERE / "labels.txt").split("\n")
    preprocess = read_preprocess(HERE / "preprocess.json")
    none_below = none_threshold()
    model = load_model(args)
    check_shape(model.shape, preprocess["img_size"])
    results = []
    batch = model.shape[0]
    for start in range(0, len(paths), batch):
        part = paths[start : start + batch]
        try:
            given, preprocess_ms = prepare(part, preprocess, model)
        except Exception as error:  # Pillow's readers of rare formats let others than OSError through
            names = ", ".join(map(str, part))
            sys.stderr.write(f"not a readable image: {names}: {error}\n")
            return 2
        logits, latencies_ms = timed_run(model, given, args.repeat, is_first=start == 0)
        if logits.ndim != 2 or not 1 <= logits.shape[1] <= len(labels):
            raise ValueError(f"the model answers with {logits.shape}, and labels.txt names {len(labels)} classes")
        for k, path in enumerate(part):
            answer = describe(logits[k], labels, args.top, none_below)
            timing = {"preprocess_ms": preprocess_ms / len(part), "latency_ms": statistics.median(latencies_ms)}
            results.append(dict({"image": str(path)}, **answer, **timing))
    report(results, model, args)
    return 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Classify images with the model in this folder.")
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument("--top", type=positive, default=3, help="labels shown per image (default 3)")
    parser.add_argument("--repeat", type=positive, default=1, help="timed runs per batch; the median is shown")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime; 0 lets it choose")
    parser.add_argument("--engine", help="TensorRT engine built on this machine, instead of ONNX Runtime")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("wanted at least 1, found " + text)
    return value


def find_images(names: "list[str]") -> "list[Path]":
    """List image files; folders are walked in name order."""
    paths = []  # type: list[Path]
    for name in names:
        path = Path(name)
        if path.is_dir():
            paths += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
        else:
            paths.append(path)
    return paths


def load_model(args: argparse.Namespace) -> Any:
    """Load the ONNX model, or the engine if one is named."""
    if args.engine is None:
        return OnnxModel(HERE / "model.onnx", args.threads)
    return importlib.import_module("run_engine").EngineModel(Path(args.engine), HERE / "certificate.json")


def read_text(path: Path) -> str:
    """Read one of the bundle's files of text, of bounded size."""
    size = path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise ValueError(f"{path.name} has {size} bytes, at most {MAX_TEXT_BYTES} are read")
    return path.read_text(encoding="utf-8")


def read_object(path: Path) -> "dict[str, Any]":
    """Read one of the bundle's JSON files."""
    try:
        values = json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError(path.name + " is nested too deep") from error
    if not isinstance(values, dict):
        raise ValueError(path.name + " holds no object")
    return values


def read_preprocess(path: Path) -> "dict[str, Any]":
    """Read how images are made; what no pipeline has is refused, before a size in it takes memory."""
    told = read_object(path)
    side, pct = told.get("img_size"), told.get("crop_pct")  # type: Any, Any
    if not is_number(side) or not 1 <= side <= MAX_SIDE or side != int(side):
        raise ValueError(f"{path.name} gives img_size as {str(side)[:40]}")
    if not is_number(pct) or not 0.1 <= pct <= 10:
        raise ValueError(f"{path.name} gives crop_pct as {str(pct)[:40]}")
    if told.get("interpolation") not in RESAMPLING:
        raise ValueError(path.name + " names no interpolation that Pillow has")
    for name in ("mean", "std"):
        values = told.get(name)
        if not isinstance(values, list) or len(values) != 3 or not all(is_number(v) and 0 <= v <= 1 for v in values):
            raise ValueError(f"{path.name} gives no {name} of three channels")
    if not all(told["std"]):
        raise ValueError(path.name + " gives a std of zero")
    if told.get("pipeline", 1) not in (1, 2):
        raise ValueError(f"{path.name} is of pipeline {str(told['pipeline'])[:40]}, which this program does not know")
    return told


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def check_shape(shape: "tuple[Any, ...]", side: int) -> None:
    """Refuse a model that does not take batches of the images that preprocess.json makes."""
    is_fixed = len(shape) == 4 and all(isinstance(size, int) and size > 0 for size in shape)
    if not is_fixed or shape[0] > MAX_BATCH or tuple(shape[1:]) != (3, side, side):
        raise ValueError(f"the model takes {shape}, and preprocess.json makes images (3, {side}, {side})")


def first_line(error: Exception) -> str:
    """Cut a message of another program short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def prepare(paths: "list[Path]", preprocess: "dict[str, Any]", model: Any) -> "tuple[np.ndarray[Any, Any], float]":
    """Decode, resize, crop and normalise; a batch that is not full repeats its first image."""
    start = time.perf_counter()
    images = [crop(path, preprocess) for path in paths]
    images += images[:1] * (model.shape[0] - len(images))
    pixels = np.stack(images).transpose(0, 3, 1, 2)
    if model.input_kind != "uint8":
        pixels = pixels.astype(np.float32) / np.float32(255)
    if model.input_kind == "normalised":
        mean = np.asarray(preprocess["mean"], dtype=np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(preprocess["std"], dtype=np.float32).reshape(1, -1, 1, 1)
        pixels = (pixels - mean) / std
    return np.ascontiguousarray(pixels), (time.perf_counter() - start) * 1000


def crop(path: Path, preprocess: "dict[str, Any]") -> "np.ndarray[Any, Any]":
    """Make one image file what the model takes, as the pipeline that the model was scored with: (S, S, 3) uint8."""
    is_first = int(preprocess.get("pipeline", 1)) == 1
    rgb = decode(path, is_first)
    size, pct = int(preprocess["img_size"]), float(preprocess["crop_pct"])
    resample = getattr(Image, preprocess["interpolation"].upper())
    if is_first:
        short = round(size / pct)
        scale = short / min(rgb.size)
        target = (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale)))
        rgb = resize(rgb, target, resample) if set(rgb.size) != {short} else rgb
        left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
        return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)
    mode, scaled, black = preprocess.get("crop_mode", "center"), int(size / pct), (0, 0, 0)
    if mode == "squash":
        return cut(resize(rgb, (scaled, scaled), resample), size, black)
    if mode == "border":
        ratio = max(rgb.width / scaled, rgb.height / scaled)
        target = (max(1, round(rgb.width / ratio)), max(1, round(rgb.height / ratio)))
        return cut(resize(rgb, target, resample), size, tuple(round(255 * v) for v in preprocess["mean"]))
    if mode != "center":
        raise ValueError("crop_mode " + str(mode) + " is not known")
    return cut(resize_short(rgb, scaled, size, resample), size, black)


def decode(path: Path, is_first: bool) -> Any:
    """Decode a file to upright RGB; 16-bit grey gives its high byte, and kinds without a known range are refused."""
    with Image.open(str(path)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
        turn = None if is_first else turn_of(image)
        image.load()
        if turn_of(image) is None:  # newer Pillow turns TIFF itself
            turn = None
        rgb = rgb_of(image)
    return rgb if turn is None else rgb.transpose(turn)


def turn_of(image: Any) -> Any:
    """Say how EXIF has the picture turned; None where it stands upright, or EXIF is damaged."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:
        return None


def rgb_of(image: Any) -> Any:
    """Convert to 8-bit RGB."""
    if image.mode in ("La", "RGBa"):
        return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGB")
    if image.mode in PLAIN_MODES:
        return image.convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image.convert("I"), dtype=np.int64)
        low, high = int(values.min()), int(values.max())
        is_sixteen = image.mode != "I" or image.format in ("PNG", "PPM") or high > 255
        if low >= 0 and high <= 65535 and is_sixteen:
            return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    raise ValueError(f"the range of its colour mode {image.mode} is not known; save it as 8-bit RGB")


def resize(rgb: Any, target: "tuple[int, int]", resample: Any) -> Any:
    """Scale, unless the size is there."""
    return rgb if rgb.size == target else rgb.resize(target, resample)


def resize_short(rgb: Any, scaled: int, size: int, resample: Any) -> Any:
    """Bring the short side to ``scaled``; of a very thin picture only the middle is scaled, which is what is cut."""
    width, height = rgb.size
    short, long = min(rgb.size), max(rgb.size)
    scaled_long = int(scaled * long / short)
    if long <= MAX_ASPECT * short:
        return resize(rgb, (scaled, scaled_long) if width <= height else (scaled_long, scaled), resample)
    kept = min(size, scaled_long)
    step = long / scaled_long
    first = round((scaled_long - kept) / 2.0) * step
    reach = MAX_SUPPORT * max(1.0, step)
    low, high = max(0, math.floor(first - reach)), min(long, math.ceil(first + kept * step + reach))
    begin, end = first - low, min(first - low + kept * step, high - low)
    if height >= width:
        wide = rgb.crop((0, low, width, high)).resize((scaled, high - low), resample)
        return wide.resize((scaled, kept), resample, box=(0, begin, scaled, end))
    wide = rgb.crop((low, 0, high, height)).resize((kept, height), resample, box=(begin, 0, end, height))
    return wide.resize((kept, scaled), resample)


def cut(rgb: Any, size: int, fill: "tuple[int, ...]") -> "np.ndarray[Any, Any]":
    """Pad where a side is shorter than ``size``, and cut the centre out."""
    wide, high = max(0, size - rgb.width), max(0, size - rgb.height)
    if wide or high:
        padded = Image.new("RGB", (rgb.width + wide, rgb.height + high), fill)
        padded.paste(rgb, (wide // 2, high // 2))
        rgb = padded
    left, top = round((rgb.width - size) / 2.0), round((rgb.height - size) / 2.0)
    return np.asarray(rgb.crop((left, top, left + size, top + size)), dtype=np.uint8)


def timed_run(
    model: Any, images: "np.ndarray[Any, Any]", repeat: int, is_first: bool
) -> "tuple[np.ndarray[Any, Any], list[float]]":
    """Run ``repeat`` times; warm-up runs before the first batch are not counted."""
    for _ in range(WARMUP_RUNS if is_first else 0):
        model.run(images)
    latencies_ms = []
    for _ in range(repeat):
        start = time.perf_counter()
        logits = model.run(images)
        latencies_ms.append((time.perf_counter() - start) * 1000)
    return logits, latencies_ms


def none_threshold() -> "float | None":
    """Read the probability below which an image is none of the labels; None where none was calibrated."""
    path = HERE / "certificate.json"
    if not path.exists():
        return None
    facts = read_object(path).get("facts")
    value = facts.get("none_below") if isinstance(facts, dict) else None  # type: Any
    return float(value) if is_number(value) else None


def describe(
    logits: "np.ndarray[Any, Any]", labels: "list[str]", top: int, none_below: "float | None"
) -> "dict[str, Any]":
    """Name the most probable labels of one image, and say whether it looks like none of them."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-probabilities)[:top]
    ranked = [{"label": labels[i], "probability": float(probabilities[i])} for i in order]
    is_none = None if none_below is None else ranked[0]["probability"] < none_below
    return {
        "label": ranked[0]["label"],
        "probability": ranked[0]["probability"],
        "is_none_of_these": is_none,
        "top": ranked,
    }


def report(results: "list[dict[str, Any]]", model: Any, args: argparse.Namespace) -> None:
    """Write the answers to stdout."""
    latency_ms = statistics.median(r["latency_ms"] for r in results)
    preprocess_ms = statistics.median(r["preprocess_ms"] for r in results)
    if args.json:
        document = {
            "schema": "nuwa.run/1",
            "runtime": model.runtime,
            "batch": model.shape[0],
            "latency_ms": latency_ms,
            "preprocess_ms": preprocess_ms,
            "images": results,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for r in results:
        ranked = ", ".join("{} {:.1f} %".format(t["label"], 100 * t["probability"]) for t in r["top"])
        strange = "none of these? " if r["is_none_of_these"] else ""
        sys.stdout.write("{}: {}{}\n".format(r["image"], strange, ranked))
    sys.stdout.write(
        f"{latency_ms:.2f} ms per batch of {model.shape[0]} measured on {model.runtime},"
        f" preprocessing {preprocess_ms:.2f} ms per image\n"
    )


def start() -> Any:
    """Run, and say what is wrong in a sentence; returns the exit code."""
    try:
        return main()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, KeyError) as error:
        return f"error: {error}\nhint: the bundle may be damaged; `nuwa verify` says which file"


if __name__ == "__main__":
    sys.exit(start())
