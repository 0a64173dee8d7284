"""A toy base, toy images and a profile of them, made once for all processes of a test run."""

import shutil
from pathlib import Path

import pytest

from nuwa_search.store.store import open_store
from tests.support.made_once import made_once
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours
from tests.support.toy_jobs import work_off
from tests.support.toy_search import ToySearch, toy_search_in


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "toy-base", write_toy_base)


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three colours, 30 images for training and 10 for the test each."""
    return made_once(tmp_path_factory, "toy-images", lambda folder: write_colours(folder, CLASSES))


@pytest.fixture(scope="session")
def profiled_db(tmp_path_factory: pytest.TempPathFactory, toy_base: Path) -> Path:
    """A database with a profile of the toy base that a worker made; searches start from copies of it."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with open_store(str(folder / "nuwa.sqlite")) as store:
            store.add_job("profile", {"device": "jetson-nano", "base": str(toy_base), "minutes": None, "seed": 0})
            assert work_off(store, folder) == 1

    return made_once(tmp_path_factory, "toy-profile", make) / "nuwa.sqlite"


@pytest.fixture
def toy_search(
    tmp_path: Path, profiled_db: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> ToySearch:
    """The toy task searched by the command line, in the test's own folder and database."""
    return toy_search_in(tmp_path, profiled=profiled_db, base=toy_base, images=toy_images, capsys=capsys)


@pytest.fixture
def toy_db(tmp_path: Path, profiled_db: Path) -> Path:
    """The test's own ``nuwa.sqlite``, in which the toy base is profiled: a search begins with its statistics."""
    return Path(shutil.copy(profiled_db, tmp_path / "nuwa.sqlite"))
