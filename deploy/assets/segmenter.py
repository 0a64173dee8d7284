"""Find the class of every pixel of frames in memory with the model in this folder: numpy, pillow and onnxruntime.

    from segmenter import Segmenter            # beside this file
    model = Segmenter("BUNDLE")
    for answer in model.predict(frames):       # each H x W x 3 uint8; channels="BGR" for OpenCV's
        print(answer.shares)                   # answer.labels is H x W uint8; answer.overlay() a picture

Answers have the size of their frames. Errors are ValueError or OSError, and say what was wanted and found. Runs on the
Python 3.6 of a Jetson Nano.
"""

import colorsys
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
OPACITY = 0.5  # of the colours that are laid over a picture
NEAREST = "NEAREST"  # Pillow moved the name between its versions, and kept this one
GOLDEN = 0.6180339887498949  # of the circle of hues between a class and the next: near classes look unlike


def load_beside(name: str) -> Any:
    """Import a module from this file's folder, whatever the working directory."""
    spec = importlib.util.spec_from_file_location(name, str(HERE / (name + ".py")))
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py is not beside {Path(__file__).name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FrameLabels(NamedTuple):
    """What the model says of one frame.

    ``labels`` (H, W) uint8 is the class of each pixel in the order of ``Segmenter.labels``, ``shares`` (num_classes,)
    the share of the pixels of each, ``rgb`` the frame as a Pillow picture.
    """

    labels: "np.ndarray[Any, Any]"
    shares: "np.ndarray[Any, Any]"
    rgb: Any

    def overlay(self) -> Any:
        """Lay the colours of the classes over the frame; class 0, the background, stays as it is."""
        pixels = np.asarray(self.rgb, dtype=np.float64)
        colours = np.asarray(palette(int(self.labels.max()) + 1), dtype=np.float64)[self.labels]
        laid = (1 - OPACITY) * pixels + OPACITY * colours
        return Image.fromarray(np.where(self.labels[:, :, None] > 0, laid, pixels).round().astype(np.uint8))

    def picture(self) -> Any:
        """Make a picture of the labels themselves: one byte a pixel, with a palette of the classes' colours."""
        image = Image.fromarray(self.labels).convert("P")
        image.putdata(self.labels.ravel().tolist())
        image.putpalette([value for colour in palette(256) for value in colour])
        return image


class Segmenter:
    """A bundle's model, ready for frames.

    ``folder`` is the bundle, ``engine`` a TensorRT engine built on this machine (None: ONNX Runtime on the CPU with
    ``threads`` threads, 0 for its own choice).
    """

    def __init__(self, folder: "str | Path" = HERE, *, engine: "str | Path | None" = None, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.beside = load_beside("classifier")
        self.labels = self.beside.read_labels(self.folder)
        self.preprocess = self.beside.read_preprocess(self.folder / "preprocess.json")
        self.model = self.beside.load_model(self.folder, engine, threads)
        self.beside.check_shape(self.model.shape, self.beside.sides_of(self.preprocess))
        self.batch = int(self.model.shape[0])

    def predict(self, frames: Any, *, channels: str = "RGB") -> "list[FrameLabels]":
        """Label frames of any size; arguments as of ``classifier.Classifier.predict``."""
        pictures = [self.beside.rgb_from_frame(f, channels) for f in self.beside.frames_of(frames)]
        answers = []  # type: list[FrameLabels]
        for start in range(0, len(pictures), self.batch):
            part = pictures[start : start + self.batch]
            cut_out = [self.crop(rgb) for rgb in part]
            given = self.beside.model_input(cut_out, self.preprocess, self.model)
            answers += [self.describe(row, rgb) for row, rgb in zip(self.run(given), part)]  # noqa: B905
        return answers

    def crop(self, rgb: Any) -> "np.ndarray[Any, Any]":
        """Scale one RGB picture to the (S, S, 3) uint8 that the model takes; nothing is cut off."""
        return self.beside.crop(rgb, self.preprocess)  # type: ignore[no-any-return]

    def run(self, given: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Map one input of the model to logits (B, num_classes, h, w), or labels (B, h, w)."""
        answer = self.model.run(given)  # type: np.ndarray[Any, Any]
        is_map = answer.ndim == 4 and answer.shape[1] == len(self.labels)
        if not is_map and not (answer.ndim == 3 and answer.dtype.kind == "i"):
            raise ValueError(f"the model answers with {answer.shape}, and labels.txt names {len(self.labels)} classes")
        return answer

    def describe(self, answer: "np.ndarray[Any, Any]", rgb: Any) -> FrameLabels:
        """Scale the answer for one frame to its size: logits (num_classes, h, w) linearly, labels (h, w) by nearest."""
        if answer.ndim == 2:
            small = Image.fromarray(answer.astype(np.uint8))
            labels = np.asarray(small.resize(rgb.size, getattr(Image, NEAREST)), dtype=np.uint8)
        else:
            labels = likeliest(answer, rgb.size)
        shares = np.bincount(labels.ravel(), minlength=len(self.labels)) / labels.size
        return FrameLabels(labels, shares, rgb)


def likeliest(logits: "np.ndarray[Any, Any]", size: "tuple[int, int]") -> "np.ndarray[Any, Any]":
    """Name the class of each pixel of a picture of ``size`` (W, H) by logits (num_classes, h, w)."""
    best = scaled(logits[0], size)
    labels = np.zeros(best.shape, dtype=np.uint8)
    for number in range(1, len(logits)):
        found = scaled(logits[number], size)
        labels[found > best] = number
        best = np.maximum(best, found)
    return labels


def scaled(plane: "np.ndarray[Any, Any]", size: "tuple[int, int]") -> "np.ndarray[Any, Any]":
    """Scale one plane (h, w) linearly between the centres of its pixels to ``size`` (W, H)."""
    out = plane.astype(np.float32)
    for axis, wanted in ((0, size[1]), (1, size[0])):
        had = out.shape[axis]
        place = np.clip((np.arange(wanted) + 0.5) * had / wanted - 0.5, 0, had - 1)
        low = np.floor(place).astype(np.int64)
        share = (place - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        out = out.take(low, axis) * (1 - share) + out.take(np.minimum(low + 1, had - 1), axis) * share
    return out


def palette(count: int) -> "list[tuple[int, int, int]]":
    """Make the colours of ``count`` classes: black for class 0, and the same for a class in every picture."""
    colours = [(0, 0, 0)]
    for number in range(1, count):
        bright = 1.0 if number % 2 else 0.75
        red, green, blue = colorsys.hsv_to_rgb((number - 1) * GOLDEN % 1.0, 0.85, bright)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours[:count]
