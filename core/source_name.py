"""Names of bases and images as people write them; nothing is opened and no torch is loaded."""

from pathlib import Path
from typing import overload

DEFAULT_BASE = "default"
"""The base that ships in the package."""
RANDOM_PREFIX = "random:"
"""Before a timm name: untrained weights."""


@overload
def absolute_path(name: str) -> str: ...
@overload
def absolute_path(name: None) -> None: ...
@overload
def absolute_path(name: str | None) -> str | None: ...
def absolute_path(name: str | None) -> str | None:
    """Make a path absolute, so that it means the same from any folder; names of bases stay, and None does."""
    if name is None or name == DEFAULT_BASE:
        return name
    path = Path(name).expanduser()
    return str(path.absolute()) if name.startswith((".", "/", "~")) or path.exists() else name
