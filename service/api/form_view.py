"""The fields of the form that starts a search, made from the list of a search's options."""

from collections.abc import Mapping
from typing import Any

from nuwa_search.search.option import Kind, Option

_FORM_KINDS: dict[Kind, str] = {
    "device": "choice",
    "source": "text",
    "folder": "text",
    "classes": "list",
    "globs": "list",
    "budgets": "list",
    "budget": "number",
    "side": "text",
    "sides": "list",
}
"""What the page draws; the other kinds go by their own name."""
STUDY_FIELD = {
    "name": "study",
    "label": "name",
    "kind": "text",
    "unit": "",
    "hint": "empty: made from device and budget",
    "choices": [],
    "is_needed": False,
    "is_main": False,
    "most": None,
}
"""Not an option: it names the search."""


def form_fields(
    options: Mapping[str, Option],
    *,
    choices: Mapping[str, list[dict[str, str]]],
    hints: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Describe the fields in the order of the options, the search's name after those that are shown at once.

    Args:
        options: By field of the request.
        choices: What is there to choose from, as ``{"value", "text"}``, by field; beside an option's own choices.
        hints: Words that follow a field's hint, by field.
    """
    fields = [
        {
            "name": option.client_name,
            "label": option.label,
            "kind": _FORM_KINDS.get(option.kind, option.kind),
            "unit": option.unit,
            "hint": _hint(option, hints.get(name, "")),
            "choices": choices.get(name) or [{"value": value, "text": value} for value in option.choices],
            "is_needed": option.is_needed,
            "is_main": option.is_main,
            "most": option.client_most if option.kind in ("number", "budget", "count", "whole") else None,
        }
        for name, option in options.items()
        if option.is_for_clients
    ]
    return [*(field for field in fields if field["is_main"]), STUDY_FIELD, *(f for f in fields if not f["is_main"])]


def _hint(option: Option, more: str) -> str:
    if option.kind == "switch":
        return ""  # its label says it
    said = option.help if option.hint is None else option.hint
    empty = f"empty: {option.empty}" if (option.empty and option.hint is None) or option.kind == "classes" else ""
    return "; ".join(part for part in (said.rstrip("."), empty, more) if part)
