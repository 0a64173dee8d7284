"""The home directory, which an account of a container or a service may not have."""

from collections.abc import Callable
from pathlib import Path

import platformdirs

from nuwa_search.core.errors import NuwaError

APP_NAME = "nuwa-search"


def expanded(path: str | Path) -> Path:
    """Return a path with its leading ``~`` or ``~NAME`` replaced by that home directory.

    Raises:
        NuwaError: If there is no such account, or it has no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # what pathlib raises for either
        raise NuwaError(
            f"the home directory of {Path(path).parts[0]!r} cannot be found",
            hint="write the path without ~, or set HOME",
        ) from error


def home_folder() -> Path | None:
    """Return the home directory; None for an account without one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def config_folder() -> Path | None:
    """Return the folder of the user's settings; None for an account without a home directory."""
    return _folder(platformdirs.user_config_path)


def data_folder(*, option: str) -> Path:
    """Return the folder of the user's data.

    Args:
        option: What names another place; for the message.

    Raises:
        NuwaError: If the account has no home directory.
    """
    return _required(_folder(platformdirs.user_data_path), option)


def cache_folder(*, option: str) -> Path:
    """Return the folder for what can be made again; arguments and errors as of ``data_folder``."""
    return _required(_folder(platformdirs.user_cache_path), option)


def _folder(find: Callable[[str], Path]) -> Path | None:
    try:
        return find(APP_NAME)
    except RuntimeError:  # what platformdirs raises where neither HOME nor an account names one
        return None


def _required(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise NuwaError("this account has no home directory", hint=f"name a place with {option}, or set HOME")
    return folder
