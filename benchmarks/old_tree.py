"""The commit that this tree is held against, unpacked beside it."""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMIT = "494cfc3"
ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def old_tree() -> Iterator[Path]:
    """Unpack the files of ``COMMIT`` into a temporary folder; a clone without its history has none."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
        yield Path(folder)
