"""Open a bundle as a classifier of NumPy images: the very program that lies in the bundle's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.deploy.assets.classifier import Classifier, FramePrediction


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
        return LoadedClassifier(path, engine=engine, threads=threads)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn the errors of the bundle's program into the library's."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise NuwaError(f"bundle {folder}: {error}", hint=f"nuwa verify {folder} checks its files") from error
