"""Commands that hints and notes print, completed so that they run as pasted: on the database in use."""

import re
import shlex
from collections.abc import Collection, Sequence

from nuwa_search.core.settings import without_secret

GROUPS = ("base", "cache", "collaborate", "config", "db", "device")
"""Verbs that have verbs of their own; an option stands after the last of them."""
WITHOUT_DATABASE = ("nuwa collaborate", "nuwa config", "nuwa env", "nuwa db copy")
# what pip installs is a package, no command
_COMMAND = re.compile(
    rf"(?<!pip install )(?<!pip install ')(?<!--upgrade )(?<!uninstall )(?<![/\w.-])"
    rf"\b(nuwa-search|nuwa (?:(?:{'|'.join(GROUPS)}) [a-z]+|[a-z]+))(?![\w-])"
)


def with_db(text: str, url: str | None, *, verbs: Collection[str]) -> str:
    """Add ``--db URL`` to the commands in a text.

    Args:
        text: A hint or a note.
        url: The database that was named; None for the user's own, which commands find by themselves. A password in
            it is left out.
        verbs: Words after ``nuwa`` that make a command; others are prose.
    """
    if not url or "--db" in text:
        return text
    option = f"--db {shlex.quote(without_secret(url))}"

    def complete(found: re.Match[str]) -> str:
        command = found[1]
        is_command = command == "nuwa-search" or command.split()[1] in verbs
        return f"{command} {option}" if is_command and not command.startswith(WITHOUT_DATABASE) else command

    return _COMMAND.sub(complete, text)


class _InUse:
    """The database that this process was told to work on, and the verbs there are."""

    url: str | None = None
    verbs: Collection[str] = ()


def use_database(args: Sequence[str], environment: str | None, *, verbs: Collection[str]) -> None:
    """Remember the database that a command line names, for what this process prints.

    Args:
        args: Of the command line.
        environment: Value of ``NUWA_DB``: whoever pastes has it too, so it is not repeated.
        verbs: Of ``nuwa``.
    """
    _InUse.url, _InUse.verbs = None, verbs
    for place, arg in enumerate(args):
        if arg == "--db" and place + 1 < len(args):
            _InUse.url = args[place + 1]
        elif arg.startswith("--db="):
            _InUse.url = arg.partition("=")[2]
    if _InUse.url is not None and _InUse.url == environment:
        _InUse.url = None


def complete_commands(text: str) -> str:
    """Return ``text`` with the database in use added to its commands."""
    return with_db(text, _InUse.url, verbs=_InUse.verbs)
