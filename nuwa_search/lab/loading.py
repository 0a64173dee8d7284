"""Open a bundle for NumPy images, of whole images or of pixels: the very program that lies in the bundle's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.deploy.assets.classifier import Classifier, FramePrediction
from nuwa_search.deploy.assets.segmenter import FrameLabels, Segmenter


class LoadedClassifier(Classifier):
    """A bundle's model, ready for frames; what it cannot take is a ``NuwaError``."""

    def predict(self, frames: Any, *, channels: str = "RGB") -> list[FramePrediction]:
        """Classify frames of any size.

        Args:
            frames: One (H, W, 3) uint8 array, a (B, H, W, 3) one, or a sequence of (H, W, 3) arrays of different sizes.
            channels: ``RGB``, or ``BGR`` as OpenCV gives.

        Returns:
            One prediction per frame, in their order.

        Raises:
            NuwaError: If a frame is none.
        """
        with _told(self.folder):
            return super().predict(frames, channels=channels)


class LoadedSegmenter(Segmenter):
    """The model of a bundle that answers for pixels, ready for frames; what it cannot take is a ``NuwaError``."""

    def predict(self, frames: Any, *, channels: str = "RGB") -> list[FrameLabels]:
        """Find the class of every pixel of frames of any size.

        Args:
            frames: As of ``LoadedClassifier.predict``.
            channels: ``RGB``, or ``BGR`` as OpenCV gives.

        Returns:
            One map of labels per frame, at its size, in their order.

        Raises:
            NuwaError: If a frame is none.
        """
        with _told(self.folder):
            return super().predict(frames, channels=channels)


def load(folder: str | Path, *, engine: str | Path | None = None, threads: int = 1) -> LoadedClassifier:
    """Open a bundle as a classifier; no torch is loaded.

    Args:
        folder: The bundle.
        engine: A TensorRT engine that was built on this machine; None for ONNX Runtime on the CPU.
        threads: Of ONNX Runtime; 0 leaves the number to it. Several threads may call ``predict`` then, one on an engine

    Raises:
        NuwaError: If the folder is no bundle, was not exported, or a file of it is damaged.
    """
    path = expanded(folder)
    with _told(path):
        if _answers_for_pixels(path):
            raise NuwaError(
                f"bundle {path} answers for every pixel, and not for images",
                hint="open it with nuwa_search.load_segmenter",
            )
        return LoadedClassifier(path, engine=engine, threads=threads)


def load_segmenter(folder: str | Path, *, engine: str | Path | None = None, threads: int = 1) -> LoadedSegmenter:
    """Open a bundle that answers for every pixel; arguments as of ``load``.

    Raises:
        NuwaError: As ``load``, and if the bundle answers for whole images.
    """
    path = expanded(folder)
    with _told(path):
        if not _answers_for_pixels(path):
            raise NuwaError(f"bundle {path} answers for whole images", hint="open it with nuwa_search.load")
        return LoadedSegmenter(path, engine=engine, threads=threads)


def _answers_for_pixels(folder: Path) -> bool:
    """Read from the shape of a bundle's net what it answers for; the program itself says what else is missing."""
    path = folder / "arch.json"
    return path.is_file() and read_object(path, what="arch file").get("global_pool") == "patches"


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn the errors of the bundle's program into the library's."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise NuwaError(f"bundle {folder}: {error}", hint=f"nuwa verify {folder} checks its files") from error
