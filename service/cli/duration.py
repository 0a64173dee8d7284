"""Lengths of time as people type them."""

import math

from nuwa_search.core.errors import NuwaError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}


def seconds_from_text(text: str, *, example: str = "--sustained 10m") -> float:
    """Read a length of time: ``10m``, ``90s``, ``180d``, ``26w``, ``2y``, or seconds.

    Args:
        text: What was typed.
        example: For the hint.

    Raises:
        NuwaError: If it is not a length of time.
    """
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError as error:
        raise NuwaError(f"wanted a length of time, found {text!r}", hint=f"such as {example}") from error
    if not 0 < seconds < math.inf:
        raise NuwaError(f"wanted a length of time above 0, found {text!r}", hint=f"such as {example}")
    return seconds
