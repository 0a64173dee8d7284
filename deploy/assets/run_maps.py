"""Find the class of every pixel of image files with the model in this folder: numpy, pillow and onnxruntime.

python run.py photo.jpg               one image: its label map and the picture with it laid over, in ./labels
python run.py photos/ -o out --json   every image below a folder, as JSON
python run.py photo.jpg --engine model.engine    on a board, with its own TensorRT

A file that is no readable image is named, and the others are labelled; the exit code is then 2.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SHOWN = 3  # classes that a line names


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
    model = load_beside("segmenter").Segmenter(HERE, engine=args.engine, threads=args.threads)
    target = Path(args.output)
    try:
        keep_images(paths, target)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\nhint: name another folder with -o\n")
        return 2
    results = []  # type: list[dict[str, Any]]
    failed = []  # type: list[dict[str, str]]
    taken = set()  # type: set[str]
    for path in paths:
        try:
            frame = np.asarray(beside.read_image(path, model.preprocess))
        except ValueError as error:
            sys.stderr.write(f"not a readable image: {path}: {error}\n")
            failed.append({"image": str(path), "error": str(error)})
            continue
        start = time.perf_counter()
        answer = model.predict(frame)[0]
        spent_ms = (time.perf_counter() - start) * 1000
        results.append(dict(saved(answer, target, path, taken), **describe(model, answer), frame_ms=spent_ms))
        show(results[-1], args)
    if args.json:
        document = {"schema": "nuwa.run/1", "runtime": model.model.runtime, "images": results, "failed": failed}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(failed) + len(results)} images could not be read\n")
    return 2 if failed else 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Find the class of every pixel with the model in this folder.")
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument("-o", "--output", default="labels", help="folder of label maps and overlays (default labels)")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime; 0 lets it choose")
    parser.add_argument("--engine", help="TensorRT engine built on this machine, instead of ONNX Runtime")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def saved(answer: Any, target: Path, path: Path, taken: "set[str]") -> "dict[str, str]":
    """Write the label map and the overlay of one image as PNG, under a file name that is not taken.

    Args:
        answer: The model's answer, a ``FrameLabels``.
        target: Folder to write to; made where it is missing.
        path: The image file; its stem names the two files.
        taken: Stems that were used in this run; the new one is added.

    Returns:
        Paths of image, label map and overlay.
    """
    target.mkdir(parents=True, exist_ok=True)
    labels, overlay = map_files(target, path, taken)
    answer.picture().save(str(labels))
    answer.overlay().save(str(overlay))
    return {"image": str(path), "labels": str(labels), "overlay": str(overlay)}


def map_files(target: Path, path: Path, taken: "set[str]") -> "tuple[Path, Path]":
    """Name the label map and the overlay of one image by a stem that is not taken, which is then."""
    stem, number = path.stem, 1
    while stem in taken:
        number += 1
        stem = f"{path.stem}-{number}"
    taken.add(stem)
    return target / (stem + ".png"), target / (stem + ".overlay.png")


def keep_images(paths: "list[Path]", target: Path) -> None:
    """Refuse a folder in which a label map would take the place of one of the images.

    Raises:
        ValueError: If a file that is to be written is an image that is read.
    """
    shown = {os.path.normcase(os.path.realpath(str(path))) for path in paths}
    taken = set()  # type: set[str]
    for path in paths:
        for made in map_files(target, path, taken):
            if os.path.normcase(os.path.realpath(str(made))) in shown:
                raise ValueError(f"{made} is one of the images, and a label map would be written over it")


def describe(model: Any, answer: Any) -> "dict[str, Any]":
    """Return the share of the pixels of each class that the picture shows."""
    found = {model.labels[i]: float(share) for i, share in enumerate(answer.shares) if share}
    return {"shares": found}


def show(result: "dict[str, Any]", args: argparse.Namespace) -> None:
    """Print the line of one image."""
    if args.json:
        return
    ranked = sorted(result["shares"].items(), key=lambda pair: -pair[1])[:SHOWN]
    told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in ranked)
    sys.stdout.write("{}: {} -> {} ({:.1f} ms)\n".format(result["image"], told, result["overlay"], result["frame_ms"]))


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
