"""``nuwa config show``: each setting with where it came from."""

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nuwa_search.core.settings import (
    default_cache_dir,
    default_db_url,
    env_name,
    file_settings,
    told_default,
    without_secret,
)
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import FLAGS, Flag, with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.group()
def command() -> None:
    """Show settings and where they come from."""


@command.command("show", cls=NuwaCommand)
@with_flags("cache-dir")
def show(**values: Any) -> None:
    """Print each setting, its value and its source: flag > NUWA_* > ./nuwa.toml > user file > default."""
    output = output_from_flags(values)
    files = file_settings([f.name for f in FLAGS.values() if f.is_setting], config_path=_path(values["config"]))
    context = click.get_current_context()
    rows = []
    for flag in FLAGS.values():
        if not flag.is_setting:
            continue
        variable, name = env_name(flag.name), flag.name.replace("-", "_")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value, source = str(values[name]), f"flag --{flag.name}"
        elif variable in os.environ:
            value, source = os.environ[variable], f"environment {variable}"
        elif flag.name in files:
            value, source = str(files[flag.name].value), files[flag.name].source
        else:
            value, source = _default(flag), "default"
        rows.append({"setting": flag.name, "value": without_secret(value), "source": source})
    if output.json:
        output.document({"schema": "nuwa.config/1", "settings": rows})
    else:
        output.table(rows)


def _default(flag: Flag) -> str:
    """Write what holds where nothing is set."""
    if flag.name == "db":
        return told_default(default_db_url)
    if flag.name == "cache-dir":
        return told_default(default_cache_dir)
    return "" if flag.default is None else str(flag.default)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
