"""Name the known alternatives when a name is not known."""

import difflib
from collections.abc import Iterable

from nuwa_search.core.errors import NuwaError


def unknown_name(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> NuwaError:
    """Build the error for an unknown name: nearest match first, else the known names.

    Args:
        kind: What the name stands for, such as ``device`` or ``class``.
        name: What the user wrote.
        known: All names that would have been right.
        hint: A command that lists or adds names; joined to the suggestion.
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name.casefold(), [n.casefold() for n in names], n=1, cutoff=0.6)
    parts = []
    if close:
        nearest = next(n for n in names if n.casefold() == close[0])
        parts.append(f"did you mean {nearest!r}?")
    else:
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        parts.append(f"known: {shown}" if names else f"no {kind} is known yet")
    if hint:
        parts.append(hint)
    return NuwaError(f"unknown {kind} {name!r}", hint=" ".join(parts))
