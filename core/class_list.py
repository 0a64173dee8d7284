"""Lists of classes as people write them; reading one loads neither NumPy nor images."""

import re

from nuwa_search.core import checked
from nuwa_search.core.documents import read_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded

_COMMENT = re.compile(r"(^|\s)#.*")
"""Not the end of ``C#``."""
MAX_CLASSES = 100_000
"""Of one list; ImageNet's largest has 21 843."""
MAX_NAME = 1000
"""Characters of one name; the longest of ImageNet's comma lists has 130."""


def parse_classes(text: str) -> tuple[str, ...]:
    """Read ``a,b,c`` or ``@file`` (one class a line, a ``#`` at its start or after a space is a comment).

    Raises:
        NuwaError: If the file is missing, too large or no text, no class is named, or a name is none that a class has.
    """
    if text.startswith("@"):
        path = expanded(text[1:])
        content = read_text(path, what="class file", hint="write one class a line, or give --classes a,b,c")
        parts = [_COMMENT.sub("", line) for line in content.split("\n")]
    else:
        parts = text.split(",")
    names = tuple(part.strip() for part in parts if part.strip())
    if not names:
        raise NuwaError("the class list is empty", hint="name at least two: --classes bicycle,bus")
    if len(names) > MAX_CLASSES:
        raise NuwaError(f"the class list has {len(names)} entries, at most {MAX_CLASSES} are read")
    for name in names:
        checked.text(name, "the name of a class", max_length=MAX_NAME)
        if any(ord(c) < 32 for c in name):
            raise NuwaError(f"a class is called {checked.shown(name)}, with control characters in it")
    return names
