"""Fixtures of the latency tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ssh_board import SshBoard, serve_board
from tests.support.ssh_rig import Rig


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SshBoard]:
    """A Jetson Nano behind a real SSH server in this process."""
    root = tmp_path / "a board's root"  # a blank and a quote in every path: quoting is tested throughout
    root.mkdir()
    board = SshBoard(root)
    board.install()
    with serve_board(board):
        yield board


@pytest.fixture
def rig(board: SshBoard) -> Iterator[Rig]:
    rig = Rig(board)
    yield rig
    board.is_refusing = False
    for device in rig.devices:
        device.close()
    assert board.leftovers() == []  # whatever happened
