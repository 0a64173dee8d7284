"""Classify frames that are in memory with the model in this folder: numpy, pillow and onnxruntime are all it takes.

    from classifier import Classifier          # beside this file; nuwa_search.load("BUNDLE") makes the same object
    model = Classifier("BUNDLE")
    for answer in model.predict(frames):       # each H x W x 3 uint8; channels="BGR" for OpenCV's
        print(answer.label, answer.score, answer.is_none)

A frame becomes the model's input as the images did that the model was scored on. Errors are ValueError or OSError, and
say what was wanted and found. Runs on the Python 3.6 of a Jetson Nano.
"""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

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
FORMATS = frozenset(  # without EPS, for which Pillow would start Ghostscript
    ["AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP"]
)
MAX_TEXT_BYTES = 8 * 2**20  # of one of the bundle's own files of text
MAX_SIDE = 16384  # of the images that a model takes
MAX_BATCH = 4096
RESAMPLING = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
MAX_PIXELS = 89478485  # of one file: where Pillow begins to warn of decompression bombs
MAX_ASPECT = 16  # of a picture that is scaled as a whole
MAX_SUPPORT = 4  # pixels that a filter may see on either side, and one more
PLAIN_MODES = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
ORIENTATION = 0x0112  # EXIF: how a picture must be turned to stand upright
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # to Pillow's transpositions, whose names moved with its versions
CHANNELS = ("RGB", "BGR")


class FramePrediction(NamedTuple):
    """What the model says of one frame.

    ``label`` is the likeliest of the labels and ``score`` its probability; ``is_none`` whether that is too little for
    any of the labels, None where no threshold was calibrated; ``scores`` (num_classes,) all probabilities, float64, in
    the order of ``Classifier.labels``.
    """

    label: str
    score: float
    is_none: "bool | None"
    scores: "np.ndarray[Any, Any]"


class Classifier:
    """A bundle's model, ready for frames.

    ``folder`` is the bundle, ``engine`` a TensorRT engine built on this machine (None: ONNX Runtime on the CPU with
    ``threads`` threads, 0 for its own choice). Several threads may call ``predict`` on ONNX Runtime, one on an engine.
    A bundle that answers for every pixel has ``segmenter.py``: ``Classifier("BUNDLE")`` is then its ``Segmenter``.
    """

    def __new__(cls, folder: "str | Path" = HERE, **options: Any) -> Any:
        program = Path(folder) / "segmenter.py"
        if cls is not Classifier or not program.is_file():
            return super().__new__(cls)
        spec = importlib.util.spec_from_file_location("segmenter", str(HERE / "segmenter.py"))
        if spec is None or spec.loader is None:
            raise ValueError(f"segmenter.py is not beside {Path(__file__).name}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Segmenter(folder, **options)  # no Classifier: Python then leaves ``__init__`` out

    def __init__(self, folder: "str | Path" = HERE, *, engine: "str | Path | None" = None, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.labels = read_labels(self.folder)
        self.preprocess = read_preprocess(self.folder / "preprocess.json")
        self.none_below = none_threshold(self.folder)
        self.model = load_model(self.folder, engine, threads)
        check_shape(self.model.shape, sides_of(self.preprocess))
        self.batch = int(self.model.shape[0])

    def predict(self, frames: Any, *, channels: str = "RGB") -> "list[FramePrediction]":
        """Classify frames of any size.

        ``frames`` is one (H, W, 3) uint8 array, a (B, H, W, 3) one, or a sequence of (H, W, 3) arrays of different
        sizes; ``channels`` is RGB, or BGR as OpenCV gives. Returns one prediction per frame, in their order.
        """
        cut_out = [self.crop(rgb_from_frame(frame, channels)) for frame in frames_of(frames)]
        return [self.describe(logits) for logits in self.infer(cut_out)]

    def crop(self, rgb: Any) -> "np.ndarray[Any, Any]":
        """Scale and cut one RGB picture to (H, W, 3) uint8."""
        return crop(rgb, self.preprocess)

    def infer(self, cut_out: "list[np.ndarray[Any, Any]]") -> "list[np.ndarray[Any, Any]]":
        """Map pictures (H, W, 3) uint8 to logits (num_classes,), a batch of the model at a time."""
        logits = []  # type: list[np.ndarray[Any, Any]]
        for start in range(0, len(cut_out), self.batch):
            part = cut_out[start : start + self.batch]
            logits += list(self.run(model_input(part, self.preprocess, self.model))[: len(part)])
        return logits

    def run(self, given: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Map one input of the model to logits (B, num_classes)."""
        logits = self.model.run(given)  # type: np.ndarray[Any, Any]
        if logits.ndim != 2 or not 1 <= logits.shape[1] <= len(self.labels):
            raise ValueError(f"the model answers with {logits.shape}, and labels.txt names {len(self.labels)} classes")
        return logits

    def describe(self, logits: "np.ndarray[Any, Any]") -> FramePrediction:
        """Turn the logits (num_classes,) of one frame into a prediction."""
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        scores = shifted / shifted.sum()
        best = int(np.argmax(scores))
        score = float(scores[best])
        is_none = None if self.none_below is None else score < self.none_below
        return FramePrediction(self.labels[best], score, is_none, scores)


class OnnxModel:
    """The model on ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("onnxruntime is not installed: pip install onnxruntime") from error

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


def frames_of(frames: Any) -> "list[Any]":
    """List the frames in what ``predict`` was given."""
    if isinstance(frames, np.ndarray) and frames.ndim == 3:
        return [frames]
    return list(frames)


def rgb_from_frame(frame: Any, channels: str) -> Any:
    """Turn one (H, W, 3) uint8 array into a Pillow picture."""
    if channels not in CHANNELS:
        raise ValueError(f"channels {str(channels)[:40]} are not known; known are " + " and ".join(CHANNELS))
    if not isinstance(frame, np.ndarray):
        raise ValueError(f"a frame is a NumPy array (H, W, 3) of uint8; found {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(f"a frame is (H, W, 3) of uint8; found {frame.shape} of {frame.dtype}")
    return Image.fromarray(np.ascontiguousarray(frame if channels == "RGB" else frame[:, :, ::-1]))


def load_model(folder: Path, engine: "str | Path | None", threads: int) -> Any:
    """Load a bundle's ONNX model, or the engine if one is named."""
    if engine is not None:
        return load_beside("run_engine").EngineModel(Path(engine), folder / "certificate.json")
    path = folder / "model.onnx"
    if not path.exists():
        raise ValueError(f"{path} is not there yet: `nuwa export {folder} --device host` writes it")
    return OnnxModel(path, threads)


def load_beside(name: str) -> Any:
    """Import a module from this file's folder, whatever the working directory."""
    spec = importlib.util.spec_from_file_location(name, str(HERE / (name + ".py")))
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py is not beside {Path(__file__).name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_labels(folder: Path) -> "list[str]":
    """Read the class names, one a line, in the order of the outputs."""
    text = read_text(folder / "labels.txt")
    return (text[:-1] if text.endswith("\n") else text).split("\n")


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
    """Read preprocess.json; raise ValueError if a value is missing or out of range."""
    told = read_object(path)
    size, pct = told.get("img_size"), told.get("crop_pct")  # type: Any, Any
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(is_number(side) and 1 <= side <= MAX_SIDE and side == int(side) for side in sides):
        raise ValueError(f"{path.name} gives img_size as {str(size)[:40]}")
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
    if is_first_pipeline(told) and len(sides) == 2:
        raise ValueError(f"{path.name} gives img_size as {str(size)[:40]} in pipeline 1, which made squares only")
    return told


def is_number(value: Any) -> bool:
    """Whether a value is a number below 10^18 in size, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def check_shape(shape: "tuple[Any, ...]", sides: "tuple[int, int]") -> None:
    """Refuse a model that does not take batches of the images that preprocess.json makes."""
    is_fixed = len(shape) == 4 and all(isinstance(size, int) and size > 0 for size in shape)
    if not is_fixed or shape[0] > MAX_BATCH or tuple(shape[1:]) != (3, *sides):
        raise ValueError(f"the model takes {shape}, and preprocess.json makes images (3, {sides[0]}, {sides[1]})")


def none_threshold(folder: Path) -> "float | None":
    """Read the probability below which an image is none of the labels; None where none was calibrated."""
    path = folder / "certificate.json"
    if not path.exists():
        return None
    facts = read_object(path).get("facts")
    value = facts.get("none_below") if isinstance(facts, dict) else None  # type: Any
    return float(value) if is_number(value) else None


def first_line(error: Exception) -> str:
    """Return the first line of another program's error message, at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


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


def read_image(path: Path, preprocess: "dict[str, Any]") -> Any:
    """Decode an image file; raise ValueError if it cannot be read."""
    try:
        return decode(path, preprocess)
    except Exception as error:  # Pillow's readers of rare formats let others than OSError through
        raise ValueError(first_line(error)) from error


def decode(path: Path, preprocess: "dict[str, Any]") -> Any:
    """Decode a file to upright RGB; 16-bit grey gives its high byte, and kinds without a known range are refused."""
    with Image.open(str(path)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has {image.width} x {image.height} pixels, at most {MAX_PIXELS} are read")
        if image.format not in FORMATS:
            raise ValueError(f"its format {image.format} is not decoded here")
        turn = None if is_first_pipeline(preprocess) else turn_of(image)
        image.load()
        if turn_of(image) is None:  # newer Pillow turns TIFF itself
            turn = None
        rgb = rgb_of(image)
    return rgb if turn is None else rgb.transpose(turn)


def turn_of(image: Any) -> Any:
    """Return the turn that EXIF asks for; None where the picture is upright, or EXIF is damaged."""
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


def model_input(
    cut_out: "list[np.ndarray[Any, Any]]", preprocess: "dict[str, Any]", model: Any
) -> "np.ndarray[Any, Any]":
    """Stack and normalise (H, W, 3) uint8 to the model's (B, 3, H, W); a batch that is not full repeats its first."""
    pixels = np.stack(cut_out + cut_out[:1] * (model.shape[0] - len(cut_out))).transpose(0, 3, 1, 2)
    if model.input_kind != "uint8":
        pixels = pixels.astype(np.float32) / np.float32(255)
    if model.input_kind == "normalised":
        mean = np.asarray(preprocess["mean"], dtype=np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(preprocess["std"], dtype=np.float32).reshape(1, -1, 1, 1)
        pixels = (pixels - mean) / std
    return np.ascontiguousarray(pixels)


def is_first_pipeline(preprocess: "dict[str, Any]") -> bool:
    """Whether images are made as the earliest bundles made them."""
    return int(preprocess.get("pipeline", 1)) == 1


def sides_of(preprocess: "dict[str, Any]") -> "tuple[int, int]":
    """Return height and width of the model's images in pixels; one number stands for a square."""
    told = preprocess["img_size"]  # type: Any
    height, width = told if isinstance(told, (list, tuple)) else (told, told)
    return int(height), int(width)


def crop(rgb: Any, preprocess: "dict[str, Any]") -> "np.ndarray[Any, Any]":
    """Scale and crop one RGB picture to the model's (H, W, 3) uint8, by the pipeline that the model was scored with."""
    (height, width), pct = sides_of(preprocess), float(preprocess["crop_pct"])
    resample = getattr(Image, preprocess["interpolation"].upper())
    if is_first_pipeline(preprocess):
        short = round(width / pct)
        scale = short / min(rgb.size)
        target = (max(width, round(rgb.width * scale)), max(width, round(rgb.height * scale)))
        rgb = resize(rgb, target, resample) if set(rgb.size) != {short} else rgb
        left, top = (rgb.width - width) // 2, (rgb.height - width) // 2
        return np.asarray(rgb.crop((left, top, left + width, top + width)), dtype=np.uint8)
    mode, wanted, black = preprocess.get("crop_mode", "center"), (width, height), (0, 0, 0)
    scaled = (int(width / pct), int(height / pct))
    if mode == "squash":
        return cut(resize(rgb, scaled, resample), wanted, black)
    ratios = (rgb.width / scaled[0], rgb.height / scaled[1])
    if mode == "border":
        fill = tuple(round(255 * v) for v in preprocess["mean"])
        return cut(resize(rgb, divided(rgb, max(ratios)), resample), wanted, fill)
    if mode != "center":
        raise ValueError("crop_mode " + str(mode) + " is not known")
    # of a square the long side is rounded down, of others to the nearest
    target = short_to(rgb, scaled[0]) if scaled[0] == scaled[1] else divided(rgb, min(ratios))
    if max(ratios) <= MAX_ASPECT * min(ratios):
        return cut(resize(rgb, target, resample), wanted, black)
    return cut(middle(rgb, target, wanted, ratios[1] >= ratios[0], resample), wanted, black)


def resize(rgb: Any, target: "tuple[int, int]", resample: Any) -> Any:
    """Scale a picture, unless it has the size already."""
    return rgb if rgb.size == target else rgb.resize(target, resample)


def divided(rgb: Any, ratio: float) -> "tuple[int, int]":
    """Return width and height in pixels of a picture scaled down by ``ratio``."""
    return max(1, round(rgb.width / ratio)), max(1, round(rgb.height / ratio))


def short_to(rgb: Any, scaled: int) -> "tuple[int, int]":
    """Return width and height in pixels of a picture whose short side is scaled to ``scaled``."""
    long = int(scaled * max(rgb.size) / min(rgb.size))
    return (scaled, long) if rgb.width <= rgb.height else (long, scaled)


def middle(rgb: Any, target: "tuple[int, int]", wanted: "tuple[int, int]", is_upright: bool, resample: Any) -> Any:
    """Scale only the middle of a very long, thin picture: the part that is kept.

    Args:
        rgb: Pillow RGB picture.
        target: (width, height) in pixels that the whole picture would be scaled to.
        wanted: (width, height) in pixels of what is cut out of it later.
        is_upright: Whether the picture is too tall; else it is too wide.
        resample: Pillow's resampling filter.
    """
    along = int(is_upright)
    there, here = rgb.size[along], target[along]
    kept = min(wanted[along], here)
    step = there / here
    first = round((here - kept) / 2.0) * step
    reach = MAX_SUPPORT * max(1.0, step)
    low, high = max(0, math.floor(first - reach)), min(there, math.ceil(first + kept * step + reach))
    begin, end = first - low, min(first - low + kept * step, high - low)
    if is_upright:
        wide = rgb.crop((0, low, rgb.width, high)).resize((target[0], high - low), resample)
        return wide.resize((target[0], kept), resample, box=(0, begin, target[0], end))
    wide = rgb.crop((low, 0, high, rgb.height)).resize((kept, rgb.height), resample, box=(begin, 0, end, rgb.height))
    return wide.resize((kept, target[1]), resample)


def cut(rgb: Any, wanted: "tuple[int, int]", fill: "tuple[int, ...]") -> "np.ndarray[Any, Any]":
    """Pad where a side is shorter than ``wanted`` (width, height), and cut the centre out."""
    width, height = wanted
    wide, high = max(0, width - rgb.width), max(0, height - rgb.height)
    if wide or high:
        padded = Image.new("RGB", (rgb.width + wide, rgb.height + high), fill)
        padded.paste(rgb, (wide // 2, high // 2))
        rgb = padded
    left, top = round((rgb.width - width) / 2.0), round((rgb.height - height) / 2.0)
    return np.asarray(rgb.crop((left, top, left + width, top + height)), dtype=np.uint8)
