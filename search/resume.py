"""What may be said of a search when it is resumed."""

import dataclasses
from collections.abc import Mapping

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS, SearchRequest


class FixedOptionError(NuwaError):
    """An option that decides what was found, asked for otherwise than the study was started with."""

    def __init__(self, option: Option, *, study: str, began: object, wanted: object) -> None:
        super().__init__(
            f"study {study!r} was started {option.said(began)}, not {option.said(wanted)}",
            hint=f"leave --{option.flag} out to resume, or start another study",
        )
        self.option = option
        self.began = began
        self.wanted = wanted


def resumed_request(
    stored: SearchRequest, given: Mapping[str, object], *, study: str, predictor_id: str | None = None
) -> SearchRequest:
    """Return the request that a stored search goes on with.

    Args:
        stored: As it was started.
        given: What was said now, by field; what was left out stays.
        study: Its name, for the error.
        predictor_id: Latency predictor that the study started from; the same one may be named where none was pinned.

    Raises:
        FixedOptionError: If an option that cannot be changed is given otherwise.
        NuwaError: If an option cannot have its value.
    """
    changes = {}
    for name, wanted in given.items():
        option, began = OPTIONS[name], getattr(stored, name)
        if name == "predictor_id" and began is None:
            began = predictor_id
        if option.is_resumable:
            changes[name] = wanted
        elif option.settled(wanted) != began:
            raise FixedOptionError(option, study=study, began=began, wanted=wanted)
    return dataclasses.replace(stored, **changes)  # type: ignore[arg-type]  # __post_init__ checks them
