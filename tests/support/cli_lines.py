"""Parse a command line as the program would, without running it."""

from collections.abc import Sequence

import click

from nuwa_search.service.cli.main import cli


def parse_nuwa_line(args: Sequence[str]) -> click.Context:
    """Parse what follows ``nuwa``; a word, option or value that the program does not take raises a UsageError."""
    group: click.Group = cli
    rest = list(args)
    context = click.Context(cli, info_name="nuwa")
    while True:
        command = group.get_command(context, rest[0])
        if command is None:
            raise click.UsageError(f"no command {rest[0]}")
        name, rest = rest[0], rest[1:]
        if not isinstance(command, click.Group):
            return command.make_context(name, rest, parent=context)
        group, context = command, click.Context(command, info_name=name, parent=context)
