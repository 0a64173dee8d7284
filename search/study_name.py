"""Names of studies: they become folders and parts of addresses."""

import re
import secrets

from nuwa_search.core.errors import NuwaError

STUDY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def new_study(device: str, budget_ms: float) -> str:
    """Make a name for a study of a device and a budget that was given none."""
    word = "".join(letter if re.fullmatch(r"[A-Za-z0-9._-]", letter) else "-" for letter in device)
    return f"{word.lstrip('._-') or 'study'}-{budget_ms:g}ms-{secrets.token_hex(3)}"


def check_study(study: str) -> str:
    """Return a new study's name, if it can be the name of a folder and a part of an address.

    Raises:
        NuwaError: If it cannot.
    """
    if not re.fullmatch(STUDY_PATTERN, study):
        raise NuwaError(
            f"a study cannot be named {study!r}",
            hint="take at most 100 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return study
