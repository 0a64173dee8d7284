"""Boards in threads, at a coordinator on a free port of this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nuwa_search.deploy.collaborate.layout import Collaboration
from tests.support.board_threads import BoardThreads
from tests.support.toy_collaboration import write_toy_collaboration


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collaboration]:
    folder = tmp_path_factory.mktemp("toy") / "collaboration"
    return folder, write_toy_collaboration(folder)


@pytest.fixture
def boards(toy: tuple[Path, Collaboration], tmp_path: Path) -> Iterator[Callable[[], BoardThreads]]:
    """Open a coordinator and its kits; every board that was started ends with the test."""
    opened: list[BoardThreads] = []

    def make() -> BoardThreads:
        opened.append(BoardThreads(*toy, tmp_path / f"kits-{len(opened)}"))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
