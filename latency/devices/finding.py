"""One thing a doctor looked at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and what to type where it is not.

    Args:
        name: What was looked at, such as ``clocks pinned``.
        is_ok: Whether it is as it should be.
        found: What was found.
        mend: The command that mends it; empty where nothing needs mending.
    """

    name: str
    is_ok: bool
    found: str
    mend: str = ""
