"""Classify image files with the model in this folder: numpy, pillow and onnxruntime are all it takes.

python run.py photo.jpg               one image
python run.py photos/ --json          every image below a folder, as JSON
python run.py photo.jpg --repeat 100  time it
python run.py photo.jpg --engine model.engine    on a board, with its own TensorRT

A file that is no readable image is named, and the others are classified; the exit code is then 2.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
WARMUP_RUNS = 3  # the first runs allocate


def load_beside(name: str) -> Any:
    """Import a module from this file's folder, whatever the working directory."""
    spec = importlib.util.spec_from_file_location(name, str(HERE / (name + ".py")))
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py is not beside {Path(__file__).name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run the command line; the exit code is 2 for wrong use, and where an image could not be read."""
    args = parse_args()
    beside = load_beside("classifier")
    paths = beside.find_images(args.images)
    if not paths:
        sys.stderr.write("no images in " + " ".join(args.images) + "\n")
        return 2
    model = beside.Classifier(HERE, engine=args.engine, threads=args.threads)
    results = []  # type: list[dict[str, Any]]
    failed = []  # type: list[dict[str, str]]
    for part, cut_out, decode_ms in readable(paths, beside, model, failed):
        start = time.perf_counter()
        given = beside.model_input(cut_out, model.preprocess, model.model)
        preprocess_ms = (decode_ms + (time.perf_counter() - start) * 1000) / len(part)
        logits, latencies_ms = timed_run(model, given, args.repeat, is_first=not results)
        for path, row in zip(part, logits):  # noqa: B905  # Python 3.6 knows no strict=
            timing = {"preprocess_ms": preprocess_ms, "latency_ms": statistics.median(latencies_ms)}
            results.append(dict({"image": str(path)}, **describe(model, row, args.top), **timing))
    report(results, failed, model, args)
    return 2 if failed else 0


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


def readable(
    paths: "list[Path]", beside: Any, model: Any, failed: "list[dict[str, str]]"
) -> "Iterator[tuple[list[Path], list[np.ndarray[Any, Any]], float]]":
    """Decode and crop files, one batch of the model at a time; report files that cannot be read.

    Args:
        paths: Image files.
        beside: Module ``classifier`` of the bundle.
        model: Classifier of the bundle.
        failed: Gets the path and error of each file that cannot be read.

    Yields:
        Per batch: its files, their pictures (H, W, 3) uint8, and the milliseconds that reading them took.
    """
    part, cut_out, spent_ms = [], [], 0.0  # type: list[Path], list[np.ndarray[Any, Any]], float
    for path in paths:
        start = time.perf_counter()
        try:
            cut_out.append(model.crop(beside.read_image(path, model.preprocess)))
        except ValueError as error:
            sys.stderr.write(f"not a readable image: {path}: {error}\n")
            failed.append({"image": str(path), "error": str(error)})
            continue
        part.append(path)
        spent_ms += (time.perf_counter() - start) * 1000
        if len(part) == model.batch:
            yield part, cut_out, spent_ms
            part, cut_out, spent_ms = [], [], 0.0
    if part:
        yield part, cut_out, spent_ms


def timed_run(
    model: Any, images: "np.ndarray[Any, Any]", repeat: int, is_first: bool
) -> "tuple[np.ndarray[Any, Any], list[float]]":
    """Run one batch ``repeat`` times; warm-up runs before the first batch are not counted.

    Args:
        model: Classifier of the bundle.
        images: One batch of model input (B, 3, H, W).
        repeat: Number of timed runs, at least 1.
        is_first: Whether this is the first batch, which warm-up runs precede.

    Returns:
        Output of the last run, and the milliseconds of each run.
    """
    for _ in range(WARMUP_RUNS if is_first else 0):
        model.run(images)
    latencies_ms = []
    for _ in range(repeat):
        start = time.perf_counter()
        logits = model.run(images)
        latencies_ms.append((time.perf_counter() - start) * 1000)
    return logits, latencies_ms


def describe(model: Any, logits: "np.ndarray[Any, Any]", top: int) -> "dict[str, Any]":
    """Name the most probable labels of one image, and say whether it looks like none of them."""
    found = model.describe(logits)
    order = np.argsort(-found.scores)[:top]
    ranked = [{"label": model.labels[i], "probability": float(found.scores[i])} for i in order]
    return {
        "label": found.label,
        "probability": found.score,
        "is_none_of_these": found.is_none,
        "top": ranked,
    }


def report(
    results: "list[dict[str, Any]]", failed: "list[dict[str, str]]", model: Any, args: argparse.Namespace
) -> None:
    """Write the answers to stdout.

    Args:
        results: One entry per image: path, labels with probabilities, milliseconds.
        failed: Path and error of each file that could not be read.
        model: Classifier of the bundle.
        args: Command line; ``json`` writes one JSON document.
    """
    latency_ms = statistics.median(r["latency_ms"] for r in results) if results else None
    preprocess_ms = statistics.median(r["preprocess_ms"] for r in results) if results else None
    if args.json:
        document = {
            "schema": "nuwa.run/1",
            "runtime": model.model.runtime,
            "batch": model.batch,
            "latency_ms": latency_ms,
            "preprocess_ms": preprocess_ms,
            "images": results,
            "failed": failed,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for r in results:
        ranked = ", ".join("{} {:.1f} %".format(t["label"], 100 * t["probability"]) for t in r["top"])
        strange = "none of these? " if r["is_none_of_these"] else ""
        sys.stdout.write("{}: {}{}\n".format(r["image"], strange, ranked))
    if results:
        sys.stdout.write(
            f"{latency_ms:.2f} ms per batch of {model.batch} measured on {model.model.runtime},"
            f" preprocessing {preprocess_ms:.2f} ms per image\n"
        )
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(failed) + len(results)} images could not be read\n")


def start() -> Any:
    """Run the program; write an error as one sentence and return the exit code."""
    try:
        return main()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, KeyError) as error:
        return f"error: {error}\nhint: `nuwa verify {HERE}` says which file of the bundle is missing or changed"


if __name__ == "__main__":
    sys.exit(start())
