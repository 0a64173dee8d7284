"""A toy base and toy images, small enough for whole searches in seconds."""

from pathlib import Path

import pytest

from nuwa_search.store.store import open_store
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours
from tests.support.toy_jobs import work_off


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_base(tmp_path_factory.mktemp("toy") / "base")


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three colours, 30 images for training and 10 for the test each."""
    return write_colours(tmp_path_factory.mktemp("toy") / "images", CLASSES)


@pytest.fixture(scope="session")
def profiled_db(tmp_path_factory: pytest.TempPathFactory, toy_base: Path) -> Path:
    """A database with a profile of the toy base that a worker made; searches start from copies of it."""
    folder = tmp_path_factory.mktemp("profiled")
    path = folder / "nuwa.sqlite"
    with open_store(str(path)) as store:
        store.add_job("profile", {"device": "jetson-nano", "base": str(toy_base), "minutes": None, "seed": 0})
        assert work_off(store, folder) == 1
    return path
