"""The command that goes on where this one stopped, with the flags that the user gave."""

import shlex
from collections.abc import Sequence

import click
from click.core import ParameterSource

from nuwa_search.core.settings import without_secret


def command_to_go_on(words: Sequence[str], *, leave_out: Sequence[str] = (), add: Sequence[str] = ()) -> str:
    """Write a command that repeats the options of the running one, quoted for a shell.

    Args:
        words: Program, verb and arguments.
        leave_out: Options that are not repeated, such as ``resume``.
        add: Words at the end.

    Returns:
        One line; a password in a database URL is left out for the user to fill in. What came from the
        environment or a settings file comes from there again.
    """
    context = click.get_current_context()
    line = list(words)
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or not isinstance(parameter, click.Option) or name in leave_out:
            continue
        flag = max(parameter.opts, key=len)
        if parameter.is_flag:
            line.append(flag)
        elif parameter.multiple:
            line += [word for value in context.params[name] for word in (flag, _text(name, value))]
        else:
            line += [flag, _text(name, context.params[name])]
    return shlex.join([*line, *add])


def _text(name: str, value: object) -> str:
    if name == "db":
        return without_secret(str(value))
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
