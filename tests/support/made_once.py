"""Fixtures that take long and that nobody writes to: one for all processes of a test run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Let the first process that asks make a folder; the others wait and get the same one.

    Args:
        tmp_path_factory: Pytest's; below pytest-xdist each process has a folder of its own in that of the run.
        name: Of the folder.
        make: Makes the folder that it is given.
    """
    own = tmp_path_factory.getbasetemp()
    run = own.parent if own.name.startswith("popen-") else own
    folder, is_made = run / name, run / f"{name}.made"
    with FileLock(run / f"{name}.lock"):  # a process that dies frees it
        if not is_made.exists():
            make(folder)
            is_made.touch()
    return folder
