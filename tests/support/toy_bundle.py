"""A bundle of the whole toy base, not exported yet."""

from pathlib import Path

from nuwa_search.core.base import load_base
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle


def write_toy_bundle(folder: Path, base: Path, images: Path) -> Bundle:
    """Write the toy base as a bundle with one sample image per class."""
    loaded = load_base(str(base))
    samples = [
        (f"{label}.png", next(path for path in sorted((images / "test" / label).iterdir())).read_bytes())
        for label in loaded.label_names
    ]
    parts = BundleParts(loaded.model, loaded.arch, loaded.label_names, loaded.preprocess, samples=samples)
    return write_bundle(folder, parts)
