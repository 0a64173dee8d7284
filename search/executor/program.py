"""Which program this is: version and files, so that two machines can be held against each other."""

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.version import __version__

LAYERS = ("core", "store", "deploy", "latency", "predictors", "search")
"""Folders of the package whose code decides what a node answers."""


@dataclass(frozen=True)
class Program:
    """One installation.

    Args:
        version: Of nuwa-search.
        files: First 12 hex digits of a hash of its code; two checkouts of one version differ in it.
        torch: Version of torch: another one may round otherwise.
        python: Version of Python.
    """

    version: str
    files: str
    torch: str
    python: str

    @property
    def words(self) -> str:
        """Version and files, for people."""
        return f"nuwa-search {self.version} (files {self.files})"


@cache
def this_program() -> Program:
    """Read version and files of the installation that runs."""
    package = Path(__file__).parents[2]  # of the name it was imported by, which has a folder or link for every layer
    digest = hashlib.sha256()
    for layer in LAYERS:
        folder = (package / layer).resolve()
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{layer}/{path.relative_to(folder)}\0".encode())
            digest.update(path.read_bytes())
    return Program(__version__, digest.hexdigest()[:12], metadata.version("torch"), platform.python_version())


def require_same(ours: Program, theirs: Program, *, node: str) -> None:
    """Refuse a node whose code is not ours: what it answers would not be what this program says it is.

    Raises:
        NuwaError: If version or files differ.
    """
    if (ours.version, ours.files) != (theirs.version, theirs.files):
        raise NuwaError(
            f"node {node} of the Ray cluster has {theirs.words}, this machine has {ours.words}",
            hint=f"on {node}: pip install nuwa-search=={ours.version} as it is here, or take it out with ray stop",
        )
