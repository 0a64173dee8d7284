"""SHA-256 of every file of a bundle, and what changed since they were taken."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CERTIFICATE = "certificate.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileChanges:
    """Names of files that are not as they were.

    Args:
        changed: Other content.
        missing: Gone.
        extra: Not there when the hashes were taken; no fault, but not covered either.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        return not (self.changed or self.missing)


def hash_file(path: Path) -> str:
    """Hash a file: 64 hex digits of SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """Hash every file below ``folder`` but the certificate, by name relative to it with ``/``."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    names = {p.relative_to(folder).as_posix(): p for p in paths}
    return {name: hash_file(path) for name, path in names.items() if name != CERTIFICATE}


def compare_hashes(folder: Path, expected: Mapping[str, str]) -> FileChanges:
    """Hash ``folder`` again and say what is not as expected."""
    found = hash_folder(folder)
    return FileChanges(
        changed=tuple(sorted(n for n in expected.keys() & found.keys() if expected[n] != found[n])),
        missing=tuple(sorted(expected.keys() - found.keys())),
        extra=tuple(sorted(found.keys() - expected.keys())),
    )
