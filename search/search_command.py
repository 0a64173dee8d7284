"""The command line that a stored search was, or would have been: to run it again as it was asked for."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS

_LEFT_OUT = ("budget_ms", "device", "more_budgets", "bundle_dir", "predictor_id")
"""Said in a way of their own, or another one for another run."""


def search_command(settings: Mapping[str, Any], *, predictor_id: str | None, db: str) -> str:
    """Write the command that runs a search again: its settings that are not at their defaults, in their order.

    Args:
        settings: The request as a study keeps it.
        predictor_id: The latency predictor that it started from, which a repeated search must start from too; None
            where none is known.
        db: The database, as ``Store.command_url`` gives it.
    """
    words = ["nuwa-search", *_budgets(settings)]
    for name, option in OPTIONS.items():
        value = settings.get(name, option.default)
        if name not in _LEFT_OUT and value != option.default and not (option.is_list and not value):
            words += _words(option, value)
    words += [] if predictor_id is None else ["--predictor", predictor_id]
    return shlex.join([*words, "--db", db])


def _budgets(settings: Mapping[str, Any]) -> Iterator[str]:
    budget_ms, device = settings["budget_ms"], settings.get("device", OPTIONS["device"].default)
    more = settings.get("more_budgets") or ()
    if not more:
        yield from ("--budget-ms", f"{budget_ms:g}", "--device", str(device))
        return
    for text in (f"{budget_ms:g}@{device}", *more):
        yield from ("--budget-ms", str(text))


def _words(option: Option, value: Any) -> list[str]:
    flag = f"--{option.flag}"
    if option.kind == "switch":
        return [flag]
    if option.is_repeated:
        return [word for one in value for word in (flag, str(one))]
    if isinstance(value, list | tuple):
        return [flag, ",".join(str(one) for one in value)]
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]
