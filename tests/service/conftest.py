"""A toy base and toy images, small enough for whole searches in seconds."""

from pathlib import Path

import pytest

from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_base(tmp_path_factory.mktemp("toy") / "base")


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three colours, 30 images for training and 10 for the test each."""
    return write_colours(tmp_path_factory.mktemp("toy") / "images", CLASSES)
