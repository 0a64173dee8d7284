"""Values from outside, checked one by one: a number is finite, a size is in range, a name stays in its folder.

Every reader of a file or a request goes through here, so that a malformed value is refused by name and never
becomes a figure, an allocation or a path.
"""

import math
from collections.abc import Collection, Mapping

from nuwa_search.core.errors import NuwaError

MAX_INTEGER = 2**53
"""Above it JSON readers in other languages, and float64, no longer hold every integer (RFC 8259, section 6)."""
MAX_TEXT = 100_000
"""Characters of one text; the longest that this program writes is a warning of a few hundred."""
MAX_ITEMS = 1_000_000
"""Entries of one list; the longest that this program writes holds a few ten thousand inferences."""
_SHOWN = 60


def finite(
    value: object, name: str, *, low: float = -math.inf, high: float = math.inf, above: float = -math.inf
) -> float:
    """Return a finite number; truth values and numbers written as text are none.

    Args:
        value: What was found.
        name: What it is called where it was found.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: What it must be larger than.

    Raises:
        NuwaError: If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unwanted(name, "a number", value)
    try:
        number = float(value)
    except OverflowError as error:
        raise _unwanted(name, "a finite number", value) from error
    if not math.isfinite(number):
        raise _unwanted(name, "a finite number", value)
    if not low <= number <= high or not number > above:
        limits = [f"at least {low:g}"] if low > -math.inf else [f"above {above:g}"] if above > -math.inf else []
        limits += [f"at most {high:g}"] if high < math.inf else []
        raise _unwanted(name, f"a number {' and '.join(limits)}", value)
    return number


def integer(value: object, name: str, *, low: int = -MAX_INTEGER, high: int = MAX_INTEGER) -> int:
    """Return a whole number in a range; truth values, 3.0 and numbers written as text are none.

    Args:
        value: To look at.
        name: It as an error names it.
        low: Smallest number allowed.
        high: Largest number allowed.

    Raises:
        NuwaError: If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unwanted(name, "a whole number", value)
    if not low <= value <= high:
        raise _unwanted(name, f"a whole number from {low} to {high}", value)
    return value


def boolean(value: object, name: str) -> bool:
    """Return a truth value; 0 and 1 are none.

    Raises:
        NuwaError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise _unwanted(name, "true or false", value)
    return value


def text(value: object, name: str, *, max_length: int = MAX_TEXT) -> str:
    """Return a text of bounded length that can be encoded.

    Raises:
        NuwaError: If it is anything else.
    """
    if not isinstance(value, str):
        raise _unwanted(name, "text", value)
    if len(value) > max_length:
        raise NuwaError(f"{name} is a text of {len(value)} characters, at most {max_length} are read")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NuwaError(f"{name} is no Unicode text: half a surrogate pair stands in it") from error
    return value


def one_of(value: object, name: str, known: Collection[str]) -> str:
    """Return one of the known words.

    Raises:
        NuwaError: If it is anything else; the known ones are listed.
    """
    if not isinstance(value, str) or value not in known:
        raise _unwanted(name, f"one of {', '.join(known)}", value)
    return value


def items(value: object, name: str, *, min_items: int = 0, max_items: int = MAX_ITEMS) -> list[object]:
    """Return a list of bounded length; a tuple is one too.

    Args:
        value: To look at.
        name: It as an error names it.
        min_items: Fewest items allowed.
        max_items: Most items allowed.

    Raises:
        NuwaError: If it is anything else.
    """
    if not isinstance(value, list | tuple):
        raise _unwanted(name, "a list", value)
    if not min_items <= len(value) <= max_items:
        wanted = f"{min_items}" if min_items == max_items else f"{min_items} to {max_items}"
        raise NuwaError(f"{name} holds {len(value)} entries, wanted {wanted}")
    return list(value)


def mapping(value: object, name: str) -> Mapping[str, object]:
    """Return an object whose keys are text.

    Raises:
        NuwaError: If it is anything else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _unwanted(name, "an object", value)
    return value


def field(values: Mapping[str, object], name: str, *, where: str) -> object:
    """Return one entry of an object.

    Raises:
        NuwaError: If it is missing.
    """
    if name not in values:
        raise NuwaError(f"{where} lacks {name!r}")
    return values[name]


def file_name(value: object, name: str) -> str:
    """Return a plain file name: joined to a folder it leads nowhere else.

    Raises:
        NuwaError: If it is no text, is empty, starts with a dot, or holds a separator or a control character.
    """
    found = text(value, name, max_length=255)  # NAME_MAX of every file system in use here
    is_plain = found.strip() and not found.startswith(".") and not any(c in "/\\:" or ord(c) < 32 for c in found)
    if not is_plain:
        raise _unwanted(name, "a plain file name", value)
    return found


def relative_name(value: object, name: str) -> str:
    """Return a name of a file below a folder, with ``/`` between its parts, that never leaves the folder.

    Raises:
        NuwaError: If it is absolute, empty, climbs, or holds a part that is no plain file name.
    """
    found = text(value, name, max_length=4096)  # PATH_MAX
    for part in found.split("/"):
        if part in ("", ".", "..") or any(c in "\\:" or ord(c) < 32 for c in part):
            raise _unwanted(name, "the name of a file inside the folder", value)
    return found


def shown(value: object) -> str:
    """Render a value for a message, cut short."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return f"a whole number of {value.bit_length()} bits"  # its decimal digits may be too many to print
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "an object"
    if value is None:
        return "nothing"
    found = repr(value[:_SHOWN] if isinstance(value, str | bytes) else value)
    return found if len(found) <= _SHOWN + 2 else f"{found[:_SHOWN]}…"


def _unwanted(name: str, wanted: str, value: object) -> NuwaError:
    return NuwaError(f"{name} must be {wanted}, found {shown(value)}")
