"""Paths that clients name stay inside the data roots, symbolic links followed."""

import re
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE, RANDOM_PREFIX
from nuwa_search.service.api.problems import FieldProblem, HttpError
from nuwa_search.service.api.settings import ServiceSettings

_HUB_NAME = re.compile(r"(hf-hub:)?[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_TIMM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def path_inside(text: str, roots: Sequence[Path], *, where: str) -> Path:
    """Resolve a path that a client named; relative ones start at the first root.

    Args:
        text: What the client wrote.
        roots: Resolved folders.
        where: Name of the value, for the error.

    Raises:
        HttpError: 422, if it leads out of the roots or cannot be a path.
    """
    try:
        path = (roots[0] / text).resolve()
        is_inside = any(path == root or root in path.parents for root in roots)
    except (OSError, ValueError, RuntimeError):
        is_inside = False
    if not is_inside or text.startswith("~"):
        raise outside_roots(where, roots)
    return path


def outside_roots(where: str, roots: Sequence[Path]) -> HttpError:
    """Refuse a path, without telling whether anything is there."""
    what = "this path lies outside the data roots of the service"
    hint = f"name one below {' or '.join(str(root) for root in roots)}, or start the service with another --root"
    return HttpError(422, f"{where}: {what}", hint=hint, errors=[FieldProblem(where=where, what=what)])


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether an existing file or folder lies below the roots once links are followed."""
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError):
        return False
    return any(resolved == root or root in resolved.parents for root in roots)


def base_from_client(text: str, settings: ServiceSettings) -> str:
    """Check the base that a client named: one of ours, a path in the roots, or a name where that is allowed.

    Raises:
        HttpError: 422 for anything else.
    """
    if text in (DEMO_BASE, PACKAGED_BASE):
        return text
    if text.startswith(RANDOM_PREFIX) and _TIMM_NAME.fullmatch(text.removeprefix(RANDOM_PREFIX)):
        return text
    return _path_or_name(text, settings, where="body.base")


def data_from_client(text: str | None, settings: ServiceSettings) -> str | None:
    """Check the data that a client named: none, ours, a path in the roots, or a name where that is allowed.

    Raises:
        HttpError: 422 for anything else.
    """
    return text if text in (None, DEMO_DATA) else _path_or_name(text, settings, where="body.data")


def _path_or_name(text: str, settings: ServiceSettings, *, where: str) -> str:
    is_path = text.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(text) or _is_there(settings.roots[0] / text)
    if not is_path and settings.is_hub_allowed and not _is_there(Path(text)):
        return text
    path = path_inside(text, settings.roots, where=where)
    if not _is_there(path):
        what = f"there is nothing at {path}"
        hint = "" if settings.is_hub_allowed else "for models and data of the Hub start the service with --hub"
        raise HttpError(422, f"{where}: {what}", hint=hint, errors=[FieldProblem(where=where, what=what)])
    return str(path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
