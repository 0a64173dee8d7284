"""One spelling for names that differ in case and in what joins their words."""

import re
import unicodedata

_JOINT = re.compile(r"(?<=[^\W_])[-_\s]+(?=[^\W_])")
"""What joins two words; a sign before a number or after a letter (``-10``, ``A-``) joins nothing."""


def fold(name: str) -> str:
    """Fold case, and what joins words (spaces, ``-``, ``_``), into one spelling."""
    return _JOINT.sub(" ", unicodedata.normalize("NFC", name).casefold()).strip()
