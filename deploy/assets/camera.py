"""Classify what a camera sees, a video or a folder of images, or its pixels, and time it end to end.

python camera.py                           the first camera (needs OpenCV)
python camera.py --source rtsp://cam/1     a stream, or a video file (needs OpenCV)
python camera.py --source photos/          every image below a folder: numpy, pillow and onnxruntime alone
python camera.py --engine model.engine     on a board, with its own TensorRT
python camera.py --save seen               where pixels have classes: label map and overlay of each frame, as PNG

A line per frame, and at the end (Ctrl-C as well) p50 and p95 of each step and frames a second. An unreadable frame is
named and skipped. Exit codes: 0 done, 2 wrong use or unreadable frames, 3 the camera failed, 130 after Ctrl-C.
"""

import argparse
import collections
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
STEPS = ("decode", "preprocess", "infer", "total")
KEPT = 10000  # frames that percentiles are taken of: the last, so that a camera may run for months
SHOWN = 3  # classes that a line names
MAX_LOST = 30  # frames in a row that a camera may fail to give (a second) before it counts as gone
NO_OPENCV = "a camera or a video needs OpenCV, which is not installed: pip install opencv-python-headless"


class SourceError(Exception):
    """A camera or stream failed."""


def load_beside(name: str) -> Any:
    """Import a module from this file's folder, whatever the working directory."""
    spec = importlib.util.spec_from_file_location(name, str(HERE / (name + ".py")))
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py is not beside {Path(__file__).name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run the command line; the module's text says what the exit codes mean."""
    args = parse_args()
    beside = load_beside("classifier")
    is_dense = (HERE / "segmenter.py").is_file()
    if args.save and not is_dense:
        raise ValueError("--save writes label maps, and this model answers for whole images")
    source = open_source(args.source, beside)
    model = open_model(beside, args)
    first = [np.zeros((*beside.sides_of(model.preprocess), 3), dtype=np.uint8)]
    model.run(beside.model_input(first, model.preprocess, model.model))  # the first run allocates
    watch = FrameTimes()
    try:
        for name, rgb, decode_ms in source(model):
            if isinstance(rgb, ValueError):
                watch.skip(name, str(rgb))
                continue
            answer = classify(model, rgb, decode_ms, watch, beside)
            if args.save:
                save(answer, Path(args.save), watch.frames)
            if not args.json and not args.quiet:
                show(name, told_of(model, answer), watch)
            if watch.frames == args.frames:
                break
    except KeyboardInterrupt:
        watch.is_interrupted = True
    except SourceError:
        watch.report(model, args)
        raise
    watch.report(model, args)
    if watch.is_interrupted:
        return 130
    return 2 if watch.skipped else 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Classify a camera's frames with the model in this folder.")
    parser.add_argument("--source", default="0", help="number or device of a camera, URL, video, image or folder")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many (default: when the source ends)")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime; 0 lets it choose")
    parser.add_argument("--engine", help="TensorRT engine built on this machine, instead of ONNX Runtime")
    parser.add_argument("--save", metavar="DIR", help="where pixels have classes: write label maps and overlays there")
    parser.add_argument("--quiet", action="store_true", help="the summary only")
    parser.add_argument("--json", action="store_true", help="the summary only, as one JSON document")
    return parser.parse_args()


def open_model(beside: Any, args: argparse.Namespace) -> Any:
    """Open the bundle's model: its segmenter if it answers for every pixel, else its classifier."""
    if (HERE / "segmenter.py").is_file():
        return load_beside("segmenter").Segmenter(HERE, engine=args.engine, threads=args.threads)
    return beside.Classifier(HERE, engine=args.engine, threads=args.threads)


class FrameTimes:
    """Times of the frames so far, and what was skipped."""

    def __init__(self) -> None:
        self.frames = 0
        self.skipped = 0
        self.is_interrupted = False
        self.begun = time.perf_counter()
        self.times_ms = {step: collections.deque(maxlen=KEPT) for step in STEPS}  # type: dict[str, Any]

    def note(self, **times_ms: float) -> None:
        """Record the milliseconds of each step of one frame."""
        self.frames += 1
        for step, ms in times_ms.items():
            self.times_ms[step].append(ms)
        self.times_ms["total"].append(sum(times_ms.values()))

    def skip(self, name: str, reason: str) -> None:
        """Count a frame that could not be read, and report it."""
        self.skipped += 1
        sys.stderr.write(f"not a readable frame: {name}: {reason}\n")

    def report(self, model: Any, args: argparse.Namespace) -> None:
        """Write the summary to stdout."""
        seconds = time.perf_counter() - self.begun
        stats = {step: {"p50": pct(ms, 50), "p95": pct(ms, 95)} for step, ms in self.times_ms.items() if ms}
        document = {
            "schema": "nuwa.camera/1",
            "source": args.source,
            "runtime": model.model.runtime,
            "batch": model.batch,
            "frames": self.frames,
            "skipped": self.skipped,
            "interrupted": self.is_interrupted,
            "seconds": seconds,
            "frames_per_s": self.frames / seconds,
            "latency_ms": stats,
        }
        if args.json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            return
        batch = "" if model.batch == 1 else f", one frame in each batch of {model.batch}"
        sys.stdout.write(
            f"{self.frames} frames in {seconds:.1f} s: {self.frames / seconds:.1f} frames/s end to end,"
            f" measured on {model.model.runtime}{batch}\n"
        )
        for step, found in stats.items():
            sys.stdout.write("{:<10} p50 {p50:8.2f} ms   p95 {p95:8.2f} ms\n".format(step, **found))
        if self.frames > KEPT:
            sys.stdout.write(f"percentiles are of the last {KEPT} frames\n")
        if self.skipped:
            sys.stdout.write(f"{self.skipped} frames could not be read and were skipped\n")


def pct(values: Any, percent: int) -> float:
    """Compute a percentile."""
    return float(np.percentile(np.asarray(values), percent))


def classify(model: Any, rgb: Any, decode_ms: float, watch: FrameTimes, beside: Any) -> Any:
    """Classify one RGB picture, and record the time of each step.

    Args:
        model: Classifier or segmenter of the bundle.
        rgb: Pillow RGB picture.
        decode_ms: Milliseconds that reading the frame took.
        watch: Gets the milliseconds of each step.
        beside: Module ``classifier`` of the bundle.

    Returns:
        The model's answer: a ``FramePrediction``, or a ``FrameLabels`` where pixels have classes.
    """
    start = time.perf_counter()
    given = beside.model_input([model.crop(rgb)], model.preprocess, model.model)
    made = time.perf_counter()
    row = model.run(given)[0]
    answer = model.describe(row, rgb) if row.ndim > 1 else model.describe(row)  # a map is scaled to its picture
    done = time.perf_counter()
    watch.note(decode=decode_ms, preprocess=(made - start) * 1000, infer=(done - made) * 1000)
    return answer


def save(answer: Any, folder: Path, number: int) -> None:
    """Write the label map and the overlay of one frame, by its number among those that were read."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"frame-{number:06d}"
    answer.picture().save(str(folder / (stem + ".png")))
    answer.overlay().save(str(folder / (stem + ".overlay.png")))


def told_of(model: Any, answer: Any) -> str:
    """Return the answer as text: the class of a picture, or the classes that most pixels have."""
    if hasattr(answer, "shares"):
        ranked = sorted(zip(answer.shares, model.labels), reverse=True)[:SHOWN]  # noqa: B905
        return ", ".join(f"{name} {100 * share:.1f} %" for share, name in ranked if share)
    strange = "none of these? " if answer.is_none else ""
    return f"{strange}{answer.label} {100 * answer.score:.1f} %"


def show(name: str, told: str, watch: FrameTimes) -> None:
    """Print the line of one frame."""
    times = {step: watch.times_ms[step][-1] for step in STEPS}
    steps = "decode {decode:.2f}, preprocess {preprocess:.2f}, infer {infer:.2f}".format(**times)
    sys.stdout.write(f"{name}: {told}  {times['total']:.2f} ms ({steps})\n")
    sys.stdout.flush()


def open_source(name: str, beside: Any) -> Any:
    """Open the source; returns a function of the model that yields (name, RGB picture or ValueError, decode ms)."""
    path = Path(name)
    if path.is_dir() or path.suffix.lower() in beside.SUFFIXES:
        found = beside.find_images([name])
        if not found:
            raise ValueError("no images in " + name)
        return lambda model: frames_of_files(found, beside, model)
    is_place = not (name.isdigit() or "://" in name or "!" in name)  # the last is a pipeline of GStreamer
    if is_place and not path.exists():
        hint = "--source takes an image, a folder, a video, a stream's URL, or a camera's number"
        raise ValueError(f"{name} does not exist\nhint: {hint}")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise ValueError(f"{NO_OPENCV}\nhint: a folder of images needs none: --source FOLDER") from error
    capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
    if not capture.isOpened():
        raise SourceError(f"{name} cannot be opened as a camera, stream or video")
    is_file = path.is_file()
    return lambda _: frames_of_capture(capture, cv2, name, is_file, beside)


def frames_of_files(paths: "list[Path]", beside: Any, model: Any) -> "Iterator[tuple[str, Any, float]]":
    """Decode image files one by one."""
    for path in paths:
        start = time.perf_counter()
        try:
            rgb = beside.read_image(path, model.preprocess)
        except ValueError as error:
            rgb = error
        yield str(path), rgb, (time.perf_counter() - start) * 1000


def frames_of_capture(
    capture: Any, cv2: Any, name: str, is_file: bool, beside: Any
) -> "Iterator[tuple[str, Any, float]]":
    """Read frames of a camera, stream or video; the decode time of a camera includes the wait for its next frame.

    Args:
        capture: Opened ``cv2.VideoCapture``; released at the end.
        cv2: OpenCV's module.
        name: Camera, stream or file as the user named it, for messages.
        is_file: Whether the source is a video file, which ends.
        beside: Module ``classifier`` of the bundle.

    Yields:
        Name of a frame, its Pillow RGB picture or the ValueError that it failed with, and milliseconds of decoding.

    Raises:
        SourceError: If a camera or stream gives no frame ``MAX_LOST`` + 1 times in a row, or a file gives none at all.
    """
    number, lost = 0, []  # type: int, list[str]
    try:
        while len(lost) <= MAX_LOST:
            start = time.perf_counter()
            is_read, frame = capture.read()
            number += 1
            if not is_read:
                lost.append(f"frame {number}")
                continue
            for missing in lost:  # of a file's end nobody knows but by frames that do not come
                yield missing, ValueError("the source gave none"), 0.0
            lost = []
            try:
                rgb = beside.rgb_from_frame(frame, "BGR")
            except ValueError as error:
                rgb = error
            yield f"frame {number}", rgb, (time.perf_counter() - start) * 1000
        read, count = number - len(lost), int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if is_file else 0
        if not is_file or not read:
            raise SourceError(f"{name} has given no frame {len(lost)} times in a row")
        if read < count:
            sys.stderr.write(f"{name} says that it has {count} frames, and ends after {read}\n")
    finally:
        capture.release()


def start() -> int:
    """Run the program; write an error as one sentence and return the exit code."""
    try:
        return main()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SourceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:  # before the first frame
        return 130


if __name__ == "__main__":
    sys.exit(start())
