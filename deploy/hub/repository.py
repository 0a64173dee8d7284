"""A repository on the Hugging Face Hub, and its errors in this program's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.hub_base import HUB_PREFIX

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def repository_from_text(text: str) -> tuple[str, str | None]:
    """Read ``hf-hub:OWNER/NAME[@REVISION]``; the prefix may be left out.

    Raises:
        NuwaError: If that is no name of a repository.
    """
    name, _, revision = text.removeprefix(HUB_PREFIX).partition("@")
    if not _NAME.fullmatch(name):
        raise NuwaError(f"{text!r} names no repository on the Hub", hint="one is called OWNER/NAME")
    return name, revision or None


@contextmanager
def hub_errors(repository: str, *, doing: str) -> Iterator[None]:
    """Turn errors of the Hub's client into errors of this program.

    Raises:
        NuwaError: If the name is none.
        OutsideError: If the Hub cannot be reached, refuses, or holds no such repository.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise NuwaError(f"{repository} names no repository on the Hub: {_line(error)}") from error
    except (RepositoryNotFoundError, LocalTokenNotFoundError) as error:
        raise OutsideError(
            f"{repository} could not be {doing}: there is none, or it is not yours to see ({type(error).__name__})",
            hint="check the name, and log in with `hf auth login`",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OutsideError(
            f"{repository} could not be {doing} ({type(error).__name__}: {_line(error)})",
            hint="check the network and HF_HUB_OFFLINE, and log in with `hf auth login`",
        ) from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
