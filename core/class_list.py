"""Lists of classes as people write them; reading one loads neither NumPy nor images."""

import re
from pathlib import Path

from nuwa_search.core.errors import NuwaError

_COMMENT = re.compile(r"(^|\s)#.*")
"""Not the end of ``C#``."""


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``a,b,c`` or ``@file`` (one class a line, a ``#`` at its start or after a space is a comment).

    Raises:
        NuwaError: If the file is missing, or no class is named.
    """
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        try:
            parts = [_COMMENT.sub("", line) for line in path.read_text(encoding="utf-8").split("\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise NuwaError(
                f"class file {path} cannot be read: {error}", hint="write one class a line, or give --classes a,b,c"
            ) from error
    else:
        parts = text.split(",")
    names = tuple(part.strip() for part in parts if part.strip())
    if not names:
        raise NuwaError("the class list is empty", hint="name at least two: --classes bicycle,bus")
    return names
