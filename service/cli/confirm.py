"""Ask before something is lost."""

import sys

import click

from nuwa_search.core.errors import NuwaError
from nuwa_search.service.cli.progress import current_line


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask a yes-or-no question on the terminal; ``-y`` has said yes already.

    Raises:
        NuwaError: If nobody can be asked, since there is no terminal.
    """
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise NuwaError(f"{question} There is no terminal to ask on", hint="add -y to say yes")
    with current_line().silence():
        return bool(click.confirm(question, err=True))
