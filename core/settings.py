"""Settings from files and environment: flag > NUWA_* environment > ./nuwa.toml > user file > default.

This module finds and checks the values; the command line turns them into options.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core import checked
from nuwa_search.core.documents import read_toml
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import cache_folder, config_folder, data_folder
from nuwa_search.core.suggest import unknown_name

PROJECT_FILE = "nuwa.toml"
ENV_PREFIX = "NUWA_"
NO_HOME = "none: this account has no home directory"

SettingValue = str | int | float | bool


@dataclass(frozen=True)
class Setting:
    """One value with where it came from, as ``nuwa config show`` prints it."""

    name: str
    value: SettingValue
    source: str


def user_config_path() -> Path | None:
    """Name the user's settings file; None for an account without a home directory."""
    folder = config_folder()
    return None if folder is None else folder / PROJECT_FILE


def default_db_url() -> str:
    """Name the SQLite file used when no ``--db`` is given.

    Raises:
        NuwaError: If the account has no home directory.
    """
    return f"sqlite:///{data_folder(option='--db') / 'nuwa.sqlite'}"


def default_cache_dir() -> Path:
    """Name the folder for caches that can be deleted at any time; raises as ``default_db_url``."""
    return cache_folder(option="--cache-dir")


def find_cache_dir() -> Path | None:
    """Return the folder that ``default_cache_dir`` names; None for an account without a home directory."""
    try:
        return default_cache_dir()
    except NuwaError:
        return None


def told_default(find: Callable[[], object]) -> str:
    """Render a default place, or ``NO_HOME`` for an account that has none."""
    try:
        return str(find())
    except NuwaError:
        return NO_HOME


def file_settings(known: Collection[str], *, config_path: Path | None = None) -> dict[str, Setting]:
    """Read settings files; the project's file (or ``config_path`` in its place) wins over the user's.

    Args:
        known: Names that may stand in a file, such as ``budget-ms``.
        config_path: File given by ``--config``; it must exist.

    Raises:
        NuwaError: If a file is no TOML or holds an unknown key or a value that is no scalar.
    """
    project = config_path if config_path is not None else Path(PROJECT_FILE)
    if config_path is not None and not config_path.is_file():
        raise NuwaError(
            f"no settings file {config_path}", hint="check --config; without it ./nuwa.toml is read where there is one"
        )
    out: dict[str, Setting] = {}
    for path in (user_config_path(), project):
        if path is not None and path.is_file():
            out |= _read(path, known)
    return out


def _read(path: Path, known: Collection[str]) -> dict[str, Setting]:
    values = read_toml(path, what="settings file", hint="write one setting a line as TOML, such as: trials = 100")
    out = {}
    for key, value in values.items():
        name = key.replace("_", "-")
        if name not in known:
            raise unknown_name(f"setting in {path}", key, known, hint="`nuwa config show` lists all settings")
        if not isinstance(value, str | int | float | bool):
            raise NuwaError(
                f"setting {key} in {path} is a {type(value).__name__}, wanted text, number or true/false",
                hint='write one value; a list of classes is text: classes = "bus,train"',
            )
        if isinstance(value, int) and not isinstance(value, bool):
            checked.integer(value, f"setting {key} in {path}")
        out[name] = Setting(name, value, str(path))
    return out


def env_name(name: str) -> str:
    """Name the environment variable of a setting: ``budget-ms`` reads ``NUWA_BUDGET_MS``."""
    return ENV_PREFIX + name.replace("-", "_").upper()


def unknown_env_names(known: Collection[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """List ``NUWA_*`` variables that no setting reads."""
    names = os.environ if environ is None else environ
    read = {env_name(name) for name in known}
    return sorted(name for name in names if name.startswith(ENV_PREFIX) and name not in read)


def without_secret(text: str) -> str:
    """Hide the password of a database URL."""
    head, at, tail = text.rpartition("@")
    if at and "://" in head and ":" in head.split("://", 1)[1]:
        scheme, rest = head.split("://", 1)
        return f"{scheme}://{rest.split(':', 1)[0]}:***@{tail}"
    return text
