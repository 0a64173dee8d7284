"""JSON and TOML from outside: read within limits, without the numbers and nesting that no reader means."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any, Final, NoReturn

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

MAX_BYTES = 8 * 2**20
"""Of a JSON document, which takes up to thirty times as much in memory; a kit's manifest of 2000 nets has 3 MB."""
MAX_LIST_BYTES = 64 * 2**20
"""Of a file that is one long list of short texts, such as the hashes of held-out images: 20 bytes an image."""
MAX_TOML_BYTES = 2**20
"""Of a settings file: ``tomllib`` is written in Python and takes seconds for more."""
MAX_DEPTH = 32
"""Levels of lists and objects; a search's answer, the deepest document here, has six."""
_MAX_DIGITS = 40
"""Of one whole number: Python's own limit is 4300, and a 64-bit number has 20."""


def read_text(path: Path, *, what: str, hint: str = "", max_bytes: int = MAX_BYTES) -> str:
    """Read a text file of bounded size.

    Args:
        path: The file.
        what: What it is, for messages.
        hint: What mends it.
        max_bytes: Size from which on it is not opened.

    Raises:
        NuwaError: If it is missing, too large, no file or no UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise NuwaError(f"{what} {path} is no file", hint=hint)
        size = path.stat().st_size
        if size > max_bytes:
            raise NuwaError(f"{what} {path} has {size} bytes, at most {max_bytes} are read", hint=hint)
        # editors on Windows put a mark first and end lines their way
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NuwaError(f"{what} {path} is missing", hint=hint) from error
    except UnicodeDecodeError as error:
        raise NuwaError(f"{what} {path} is no UTF-8 text (byte {error.start})", hint=hint) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise NuwaError(f"{what} {path} cannot be read: {error}", hint=hint) from error


def read_json(path: Path, *, what: str, hint: str = "", max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file; see ``json_from_text``.

    Args:
        path: The file.
        what: It as an error names it.
        hint: What mends it.
        max_bytes: Largest file that is read.

    Raises:
        NuwaError: If it is missing, too large or no JSON as it is wanted here.
    """
    return json_from_text(read_text(path, what=what, hint=hint, max_bytes=max_bytes), what=f"{what} {path}", hint=hint)


def read_object(path: Path, *, what: str, hint: str = "", max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        what: It as an error names it.
        hint: What mends it.
        max_bytes: Largest file that is read.

    Raises:
        NuwaError: As ``read_json``, and if it holds anything else.
    """
    values = read_json(path, what=what, hint=hint, max_bytes=max_bytes)
    if not isinstance(values, dict):
        raise NuwaError(f"{what} {path} holds {checked.shown(values)}, wanted an object", hint=hint)
    return values


def json_from_text(content: str | bytes, *, what: str, hint: str = "", max_bytes: int = MAX_BYTES) -> Any:
    """Read JSON with finite numbers, distinct keys, whole characters and bounded nesting.

    Args:
        content: The document.
        what: What it is and where, for messages.
        hint: What mends it.
        max_bytes: Length from which on it is not read.

    Raises:
        NuwaError: If it is no JSON, or holds NaN, Infinity, a number beyond float64 (``1e999``), a whole number
            of more than 40 digits, a key twice, half a surrogate pair, or nests deeper than 32 levels.
    """
    if len(content) > max_bytes:
        raise NuwaError(f"{what} has {len(content)} bytes, at most {max_bytes} are read", hint=hint)
    try:
        values = json.loads(content, **_STRICT)
    except RecursionError as error:
        raise NuwaError(f"{what} is nested deeper than {MAX_DEPTH} levels", hint=hint) from error
    except ValueError as error:
        raise NuwaError(f"{what} is no JSON: {error}", hint=hint) from error
    _require_shallow(values, what=what, hint=hint)
    escape = "\\u" if isinstance(content, str) else b"\\u"
    if escape in content:  # type: ignore[operator]  # of the same kind, by the line above
        _require_whole_text(values, what=what, hint=hint)
    return values


def strict_decoder() -> json.JSONDecoder:
    """Make a decoder with the rules of ``json_from_text`` but for depth and surrogates, for reading in pieces."""
    return json.JSONDecoder(**_STRICT)


def read_toml(path: Path, *, what: str, hint: str = "") -> dict[str, Any]:
    """Read a TOML file within limits.

    Raises:
        NuwaError: If it is missing, longer than 1 MiB or no TOML, or holds nan, inf or a number beyond float64.
    """
    content = read_text(path, what=what, hint=hint, max_bytes=MAX_TOML_BYTES)
    try:
        values = tomllib.loads(content, parse_float=_finite_number)
    except RecursionError as error:
        raise NuwaError(f"{what} {path} is nested deeper than {MAX_DEPTH} levels", hint=hint) from error
    except ValueError as error:
        raise NuwaError(f"{what} {path} cannot be read: {error}", hint=hint) from error
    _require_shallow(values, what=f"{what} {path}", hint=hint)
    return values


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:_MAX_DIGITS]} is no finite number")
    return number


def _bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits stands in it")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:_MAX_DIGITS]!r} stands in one object twice")
    return values


def _require_shallow(values: Any, *, what: str, hint: str) -> None:
    level = [values]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise NuwaError(f"{what} is nested deeper than {MAX_DEPTH} levels", hint=hint)


def _require_whole_text(values: Any, *, what: str, hint: str) -> None:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise NuwaError(f"{what} is no Unicode text: half a surrogate pair stands in it", hint=hint) from error


_STRICT: Final[dict[str, Any]] = {
    "parse_float": _finite_number,
    "parse_int": _bounded_integer,
    "parse_constant": _no_constant,
    "object_pairs_hook": _distinct_keys,
}
