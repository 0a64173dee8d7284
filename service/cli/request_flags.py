"""From the flags of ``nuwa search`` to the fields of a request, by the list of options."""

from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.core import ParameterSource

from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS, SearchRequest

_FROM_FILES = {
    ParameterSource.ENVIRONMENT: "the environment",
    ParameterSource.DEFAULT_MAP: "a settings file",
}


def fields_from_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field of a request.

    Args:
        values: Of the flags, by click's names.
    """
    return {name: option.value_of_flag(values[_parameter(option)]) for name, option in OPTIONS.items()}


def fields_given(ctx: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose flags the user typed; settings from files and the environment are not among them."""
    fields = fields_from_flags(values)
    return {
        name: fields[name]
        for name, option in OPTIONS.items()
        if ctx.get_parameter_source(_parameter(option)) is ParameterSource.COMMANDLINE
    }


def settings_left_out(ctx: click.Context, values: Mapping[str, Any], request: SearchRequest) -> Iterator[str]:
    """Say which settings of files and the environment a resumed search does not follow, a line each.

    They are for searches that begin: a study goes on as it was started, wherever it is resumed.
    """
    for name, option in OPTIONS.items():
        source = ctx.get_parameter_source(_parameter(option))
        if source not in _FROM_FILES:
            continue
        wanted, goes_on = option.value_of_flag(values[_parameter(option)]), getattr(request, name)
        if wanted == goes_on:
            continue
        hint = f"; to change it, give --{option.flag}" if option.is_resumable else ""
        found = option.said(wanted).partition(" ")[2]
        yield f"{found} of {_FROM_FILES[source]} is not followed: the study goes on {option.said(goes_on)}{hint}"


def _parameter(option: Option) -> str:
    """Name click's parameter of an option's flag."""
    return option.flag.replace("-", "_")
