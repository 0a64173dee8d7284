"""Entry points: find the command, run it, and turn errors into the contract's words and exit codes."""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.missing_package import missing_package
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory
from nuwa_search.core.version import __version__

EXIT_INTERRUPTED = 130

# verb: (module under nuwa_search.service.cli.commands, one line for --help)
COMMANDS = {
    "search": ("search", "Cut a base ViT to a latency budget; `nuwa-search` is the same."),
    "profile": ("profile", "Measure a device's latency table and fit its predictor."),
    "device": ("device", "List, show, add and remove devices."),
    "predict": ("predict", "Predict the latency of an arch without touching the device."),
    "measure": ("measure", "Measure the latency of a bundle, an arch or any ONNX file."),
    "derive": ("derive", "Cut one subnet out of a base, without a search."),
    "evaluate": ("evaluate", "Accuracy of a bundle or base."),
    "finetune": ("finetune", "Fine-tune a bundle's model with distillation from its base."),
    "export": ("export", "Write a bundle's ONNX model for a device."),
    "build": ("build", "Build a bundle's engine, or write the command that does."),
    "verify": ("verify", "Check a bundle: hashes, numerics, latency."),
    "collaborate": ("collaborate", "Let several boards answer together: kits, network, runs."),
    "push": ("push", "Push a bundle or base to the Hugging Face Hub, with a model card."),
    "pull": ("pull", "Pull a bundle or base from the Hugging Face Hub."),
    "decompose": ("decompose", "Cut one base into sub-models for several devices that answer together."),
    "compare": ("compare", "Put two subnets of the database side by side."),
    "query": ("query", "Ask the search database."),
    "base": ("base", "Train, evaluate and list base ViTs."),
    "serve": ("serve", "HTTP API and web page over the database."),
    "worker": ("worker", "Do the searches and profiles that wait in the database."),
    "db": ("db", "Upgrade, check, copy and prune the database."),
    "cache": ("cache", "Show and clear what is kept to save time."),
    "config": ("config", "Show settings and where they come from."),
    "env": ("env", "Show versions and paths, for bug reports."),
    "doctor": ("doctor", "Check this machine, or a device."),
    "completion": ("completion", "Print what makes a shell complete commands and options."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"nuwa_search.service.cli.commands.{COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from nuwa_search.core.suggest import unknown_name

            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nuwa")
def cli() -> None:
    """Cut Vision Transformers to a millisecond budget on edge devices."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``nuwa`` and exit."""
    sys.exit(run(cli, argv, prog_name="nuwa"))


def main_search(argv: Sequence[str] | None = None) -> None:
    """Run ``nuwa search`` under its own name and exit."""
    from nuwa_search.service.cli.commands.search import command

    sys.exit(run(command, argv, prog_name="nuwa-search"))


def run(command: click.Command, argv: Sequence[str] | None, *, prog_name: str) -> int:
    """Run a command and return its exit code; errors are printed to stderr in the contract's form."""
    args = list(sys.argv[1:] if argv is None else argv)
    from nuwa_search.service.cli.pasted import use_database

    use_database(args, os.environ.get("NUWA_DB"), verbs=COMMANDS)
    debug = "--debug" in args or os.environ.get("NUWA_DEBUG", "") not in ("", "0", "false")
    try:
        result = command.main(args, prog_name=prog_name, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:  # click's own way out when the reader of a pipe has gone
        return 0 if error.code in (None, 0, 1) else int(error.code or 0)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else prog_name
        _print_error(error.format_message().rstrip("."), f"{path} --help")
        return 2
    except click.Abort:
        _print_error("interrupted", "")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt as error:
        _print_error(str(error) or "interrupted; nothing is left half written", "run the same command again")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NuwaError as error:
        if debug:
            raise
        _print_error(error.message, error.hint)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        told = _told(error)
        _print_error(told.message, told.hint)
        return told.exit_code


def _told(error: Exception) -> NuwaError:
    """Say in the contract's form what no module raised as an error of its own."""
    if is_out_of_memory(error):
        return out_of_memory(error)
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space, or write elsewhere" if full else "run again with --debug to see where"
        return OutsideError(f"{error.strerror or error}: {error.filename or 'no file named'}", hint=hint)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    return OutsideError(f"internal error, {type(error).__name__}: {error}", hint="run again with --debug and report it")


def _print_error(message: str, hint: str) -> None:
    from nuwa_search.service.cli.pasted import complete_commands

    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True, color=_colour())
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {complete_commands(hint)}", err=True, color=_colour())


def _colour() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None
