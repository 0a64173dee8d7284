"""Values as people write them in Python, made into what requests hold."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nuwa_search.core.class_list import parse_classes
from nuwa_search.core.source_name import absolute_path

_SOURCES = ("base", "data")


def plain_values(values: Mapping[str, Any], *, relative: Collection[str] = ()) -> dict[str, Any]:
    """Make paths text, sequences tuples, and the classes ``"a,b"`` or ``"@FILE"`` a tuple of names.

    Names and paths of bases and images become absolute, so that what is stored means the same from any folder.

    Args:
        values: As they were given.
        relative: Names of bases and images that stay as they were given: nothing of them is stored.
    """
    return {name: _plain(name, value, is_stored=name not in relative) for name, value in values.items()}


def _plain(name: str, value: Any, *, is_stored: bool) -> Any:
    if name == "classes" and isinstance(value, str):
        return parse_classes(value)
    if isinstance(value, Path):
        value = str(value)
    if is_stored and name in _SOURCES and isinstance(value, str):
        return absolute_path(value)
    return tuple(value) if isinstance(value, list) else value
