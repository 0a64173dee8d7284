"""Which subnet a bundle's folder belongs to: searches and commands may write another subnet into it later."""

from pathlib import Path
from typing import Any

from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import FACTS
from nuwa_search.deploy.file_hashes import CERTIFICATE


def subnet_in(folder: Path) -> str | None:
    """Return which subnet a folder holds, by its certificate or, before an export, its facts; None without either."""
    for name in (CERTIFICATE, FACTS):
        found = (object_in(folder / name) or {}).get("subnet_id")
        if found:
            return str(found)
    return None


def holds_subnet(folder: Path, subnet_id: str) -> bool:
    """Whether nothing in a folder says that it is another subnet's, which something wrote there later."""
    return subnet_in(folder) in (None, subnet_id)


def object_in(path: Path) -> dict[str, Any] | None:
    """Read a JSON document of a bundle; None where it is gone or no object."""
    try:
        return read_object(path, what="the bundle's file")
    except NuwaError:
        return None
