"""``nuwa env``: versions and paths, for bug reports."""

import os
import platform
from typing import Any

import click

from nuwa_search.core.installed import installed_version
from nuwa_search.core.settings import (
    NO_HOME,
    default_cache_dir,
    default_db_url,
    told_default,
    user_config_path,
    without_secret,
)
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags

PACKAGES = (
    "nuwa-search",
    "torch",
    "timm",
    "optuna",
    "onnx",
    "onnxruntime",
    "openvino",
    "sqlalchemy",
    "pandas",
    "numpy",
    "scipy",
    "tensorrt",
)


@click.command("env", cls=NuwaCommand)
@with_flags("cache-dir")
def command(**values: Any) -> None:
    """Show versions and paths, for bug reports."""
    output = output_from_flags(values)
    rows = [
        {"name": "python", "value": platform.python_version()},
        {"name": "platform", "value": platform.platform()},
        {"name": "cpus", "value": str(os.cpu_count())},
        *({"name": name, "value": installed_version(name) or "not installed"} for name in PACKAGES),
        {"name": "database", "value": without_secret(values["db"] or told_default(default_db_url))},
        {"name": "cache", "value": values["cache_dir"] or told_default(default_cache_dir)},
        {"name": "settings", "value": str(user_config_path() or NO_HOME)},
    ]
    if output.json:
        output.document({"schema": "nuwa.env/1"} | {row["name"]: row["value"] for row in rows})
    else:
        output.table(rows)
