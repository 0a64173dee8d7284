"""From the flags of ``nuwa search`` to the fields of a request, by the list of options."""

from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.core import ParameterSource

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.device_budget import budgets_from_texts
from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS, SearchRequest

_FROM_FILES = {
    ParameterSource.ENVIRONMENT: "the environment",
    ParameterSource.DEFAULT_MAP: "a settings file",
}
_STRENGTH = (ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT, ParameterSource.COMMANDLINE)
"""The later one overrules."""


def fields_from_flags(ctx: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field of a request; those of budgets only where one was given.

    Args:
        ctx: Knows where each value came from.
        values: Of the flags, by click's names.

    Raises:
        NuwaError: If budgets contradict each other, or a device is named both in a budget and by ``--device``.
    """
    fields = {
        name: option.value_of_flag(values[_parameter(option)])
        for name, option in OPTIONS.items()
        if option.kind not in ("budget", "budgets")
    }
    budgets = budgets_from_texts(OPTIONS["budget_ms"].value_of_flag(values["budget_ms"]))
    if not budgets:
        return fields
    if budgets[0].device is not None:
        _refuse_device_beside(ctx, budgets[0].text)
        fields["device"] = budgets[0].device
    more = tuple(one.text for one in budgets[1:])
    return fields | {"budget_ms": budgets[0].budget_ms, "more_budgets": more}


def fields_given(ctx: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields whose flags the user typed; settings from files and the environment are not among them."""
    fields = fields_from_flags(ctx, values)
    typed = {name for name, option in OPTIONS.items() if _source(ctx, option) is ParameterSource.COMMANDLINE}
    if "budget_ms" in typed and "@" in values["budget_ms"][0]:
        typed.add("device")
    return {name: value for name, value in fields.items() if name in typed}


def settings_left_out(ctx: click.Context, values: Mapping[str, Any], request: SearchRequest) -> Iterator[str]:
    """List the settings of files and the environment that a resumed search does not follow, a line each.

    They are for searches that begin: a study goes on as it was started, wherever it is resumed.
    """
    fields = fields_from_flags(ctx, values)
    for name, option in OPTIONS.items():
        source = _source(ctx, option)
        if source not in _FROM_FILES or name not in fields:
            continue
        wanted, goes_on = fields[name], getattr(request, name)
        if wanted == goes_on:
            continue
        hint = f"; to change it, give --{option.flag}" if option.is_resumable else ""
        found = option.said(wanted).partition(" ")[2]
        yield f"{found} of {_FROM_FILES[source]} is not followed: the study goes on {option.said(goes_on)}{hint}"


def _refuse_device_beside(ctx: click.Context, budget: str) -> None:
    """Refuse ``--device`` where a budget names its own; a weaker source, such as a settings file, is overruled."""
    device, named = (_source(ctx, OPTIONS[name]) for name in ("device", "budget_ms"))
    if device in _STRENGTH and _STRENGTH.index(device) >= (_STRENGTH.index(named) if named in _STRENGTH else 0):
        raise NuwaError(
            f"--device was given, and --budget-ms {budget} names its device too",
            hint="name each device once: --budget-ms N --device NAME, or --budget-ms N@NAME",
        )


def _source(ctx: click.Context, option: Option) -> ParameterSource | None:
    return ctx.get_parameter_source(_parameter(option))


def _parameter(option: Option) -> str:
    """Return the name of click's parameter for an option's flag."""
    return option.flag.replace("-", "_")
