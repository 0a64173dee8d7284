"""``nuwa completion``: what a shell runs to complete commands, options and their values."""

from typing import Any

import click
from click.shell_completion import get_completion_class

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags

SHELLS = ("bash", "zsh", "fish")
"""That click completes for."""
PROGRAMS = ("nuwa", "nuwa-search")


@click.command("completion", cls=NuwaCommand)
@click.argument("shell", type=click.Choice(SHELLS))
@with_flags()
def command(shell: str, **values: Any) -> None:
    """Print the script that completes `nuwa` and `nuwa-search` in SHELL.

    bash: eval "$(nuwa completion bash)" in ~/.bashrc; zsh the same in ~/.zshrc; fish: nuwa completion fish | source.
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click completes nothing for {shell}")
    variables = {program: f"_{program.replace('-', '_').upper()}_COMPLETE" for program in PROGRAMS}
    script = "\n".join(found(command, {}, program, variable).source() for program, variable in variables.items())
    output = output_from_flags(values)
    if output.json:
        output.document({"schema": "nuwa.completion/1", "shell": shell, "script": script})
    else:
        click.echo(script)
