"""Versions of installed packages, read without importing them."""


def installed_version(name: str) -> str | None:
    """Read the version of a package; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # a third of what `nuwa --help` takes

    try:
        return version(name)
    except PackageNotFoundError:
        return None
