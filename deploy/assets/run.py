"""Classify images with the model in this folder: numpy, pillow and onnxruntime are all it takes.

python run.py photo.jpg               one image
python run.py photos/ --json          every image below a folder, as JSON
python run.py photo.jpg --repeat 100  time it
python run.py photo.jpg --engine model.engine    on a board, with its own TensorRT
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
WARMUP_RUNS = 3  # the first runs allocate


class OnnxModel:
    """The model on ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        image = self.session.get_inputs()[0]
        self.name = image.name
        self.shape = tuple(image.shape)
        self.input_kind = self.session.get_modelmeta().custom_metadata_map.get("nuwa.input", "normalised")
        self.runtime = "onnxruntime " + onnxruntime.__version__

    def run(self, images: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Map one batch to logits (B, num_classes)."""
        logits: np.ndarray[Any, Any] = self.session.run(None, {self.name: images})[0]
        return logits


def main() -> int:
    """Run the command line; the exit code is 2 for wrong use."""
    args = parse_args()
    paths = find_images(args.images)
    if not paths:
        sys.stderr.write("no images in " + " ".join(args.images) + "\n")
        return 2
    labels = (HERE / "labels.txt").read_text(encoding="utf-8").split("\n")
    preprocess = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))
    model = load_model(args)
    results = []
    batch = model.shape[0]
    for start in range(0, len(paths), batch):
        part = paths[start : start + batch]
        try:
            given, preprocess_ms = prepare(part, preprocess, model)
        except (OSError, ValueError) as error:
            names = ", ".join(map(str, part))
            sys.stderr.write(f"not a readable image: {names}: {error}\n")
            return 2
        logits, latencies_ms = timed_run(model, given, args.repeat, is_first=start == 0)
        for k, path in enumerate(part):
            answer = describe(logits[k], labels, args.top)
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
            paths += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        else:
            paths.append(path)
    return paths


def load_model(args: argparse.Namespace) -> Any:
    """Load the ONNX model, or the engine if one is named."""
    if args.engine is None:
        return OnnxModel(HERE / "model.onnx", args.threads)
    return importlib.import_module("run_engine").EngineModel(Path(args.engine), HERE / "certificate.json")


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
    """Resize the short side to img_size / crop_pct and cut the centre out: (S, S, 3) uint8."""
    size = int(preprocess["img_size"])
    short = round(size / preprocess["crop_pct"])
    with Image.open(str(path)) as image:
        rgb = image.convert("RGB")
    if min(rgb.size) != short or max(rgb.size) != short:
        scale = short / min(rgb.size)
        target = (max(size, round(rgb.width * scale)), max(size, round(rgb.height * scale)))
        rgb = rgb.resize(target, getattr(Image, preprocess["interpolation"].upper()))
    left, top = (rgb.width - size) // 2, (rgb.height - size) // 2
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


def describe(logits: "np.ndarray[Any, Any]", labels: "list[str]", top: int) -> "dict[str, Any]":
    """Name the most probable labels of one image."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-probabilities)[:top]
    ranked = [{"label": labels[i], "probability": float(probabilities[i])} for i in order]
    return {"label": ranked[0]["label"], "probability": ranked[0]["probability"], "top": ranked}


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
        sys.stdout.write("{}: {}\n".format(r["image"], ranked))
    sys.stdout.write(
        f"{latency_ms:.2f} ms per batch of {model.shape[0]} measured on {model.runtime},"
        f" preprocessing {preprocess_ms:.2f} ms per image\n"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}\nhint: the bundle may be damaged; `nuwa verify` says which file")
