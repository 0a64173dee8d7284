"""The command class of all verbs: option values also come from settings files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nuwa_search.core.counting import counts_to
from nuwa_search.core.missing_package import require_package
from nuwa_search.core.settings import file_settings, unknown_env_names
from nuwa_search.service.cli.flags import known_settings
from nuwa_search.service.cli.progress import progress_of

OTHER_NAMES = ("NUWA_CONFIG", "NUWA_HOST", "NUWA_PORT", "NUWA_TOKEN", "NUWA_TOKEN_FILE")
"""Variables that are read and stand in no settings file."""

COMPUTING = frozenset({"search", "profile", "derive", "evaluate", "finetune", "export", "verify", "train", "worker"})
"""Verbs that run nets, so that they need torch whatever their arguments: the small distribution has none."""


class NuwaCommand(click.Command):
    """A command whose options fall back to ``./nuwa.toml`` and the user's settings file, and that is never silent long.

    What counts inside it is shown on stderr (``core.counting``), and silence is broken by the command's name. Commands
    that serve others (``is_service``) have a log instead.
    """

    is_service = False

    def invoke(self, ctx: click.Context) -> Any:
        if self.name in COMPUTING:
            require_package("torch")
        said = ctx.params.get("quiet") or ctx.params.get("no_progress")
        with progress_of(ctx, enabled=not (said or self.is_service)) as line, counts_to(line.count):
            return super().invoke(ctx)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        settings = file_settings(known_settings(), config_path=_config_path(args))
        names = {str(param.name) for param in self.params}
        values = {s.name.replace("-", "_"): s.value for s in settings.values()}
        repeated = {str(param.name) for param in self.params if isinstance(param, click.Option) and param.multiple}
        extra["default_map"] = {
            name: [str(value)] if name in repeated else value for name, value in values.items() if name in names
        }
        if "-q" not in args and "--quiet" not in args:
            for name in unknown_env_names(known_settings()):
                if name not in OTHER_NAMES:
                    print(f"warning: environment variable {name} is not a setting", file=sys.stderr)
        return super().make_context(info_name, args, parent, **extra)


class ServiceCommand(NuwaCommand):
    """A command that runs until it is stopped and tells what it does in a log."""

    is_service = True


def _config_path(args: Sequence[str]) -> Path | None:
    for place, arg in enumerate(args):
        if arg == "--config" and place + 1 < len(args):
            return Path(args[place + 1])
        if arg.startswith("--config="):
            return Path(arg.partition("=")[2])
    return None
