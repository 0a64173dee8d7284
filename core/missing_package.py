"""Say which package a command lacks: the small distribution has none of those that compute with nets."""

from importlib.util import find_spec

from nuwa_search.core.errors import NuwaError

FULL = "nuwa-search"
CLIENT = "nuwa-search-client"
_OWN = "nuwa_search"


def is_client_only() -> bool:
    """Whether the small distribution is installed, and not the whole one."""
    from nuwa_search.core.installed import installed_version

    return installed_version(FULL) is None and installed_version(CLIENT) is not None


def missing_package(error: ModuleNotFoundError) -> NuwaError:
    """Build the error for a package that could not be imported.

    Args:
        error: Of the import.
    """
    name = (error.name or str(error)).partition(".")[0]
    if name == _OWN:
        return NuwaError(f"this installation is incomplete: {error.name} is missing", hint=f"pip install {FULL}")
    message = f"this command needs the package {name}, which is not installed"
    if is_client_only():
        return NuwaError(
            f"{message}: {CLIENT} queries, serves and reads bundles",
            hint=f"pip uninstall {CLIENT}, then pip install {FULL}",
        )
    return NuwaError(message, hint=f"pip install {FULL} brings it")


def require_package(name: str) -> None:
    """Refuse to begin what needs a package that is not installed.

    Raises:
        NuwaError: If it is not.
    """
    if find_spec(name) is None:
        raise missing_package(ModuleNotFoundError(name=name))
