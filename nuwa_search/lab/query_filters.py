"""Which filters of a query say something about which answer; told before the database is opened."""

from collections.abc import Sequence

from nuwa_search.core.errors import NuwaError

FILTERS = {
    "subnets": (
        *("device", "max_ms", "min_top1", "classes", "base", "measured_only", "pareto", "explain_budget"),
        *("sort", "limit"),
    ),
    "budgets": ("device", "max_ms", "classes", "base", "measured_only", "explain_budget"),
    "latencies": ("device", "max_ms", "measured_only", "model", "limit"),
    "studies": ("device", "classes", "base", "limit"),
    "devices": ("device", "compare", "limit"),
    "comparisons": ("compare", "classes", "base", "limit"),
    "certificates": ("device", "max_ms", "model", "limit"),
    "bundles": ("device", "limit"),
    "collaborations": ("device", "max_ms", "classes", "base", "limit"),
    "SQL": ("limit",),
}
"""The flags that say something about each kind of answer."""


def check_filters(kind: str, given: Sequence[str]) -> None:
    """Refuse a filter that the answer would ignore.

    Args:
        kind: A key of ``FILTERS``.
        given: Names of the flags that the user wrote.

    Raises:
        NuwaError: If one says nothing about this kind of answer.
    """
    for name in given:
        elsewhere = [other for other, names in FILTERS.items() if name in names]
        if elsewhere and name not in FILTERS[kind]:
            raise NuwaError(
                f"{_flag(name)} says nothing about {kind}, only about {', '.join(elsewhere)}",
                hint=f"{kind} can be asked with {', '.join(_flag(flag) for flag in FILTERS[kind])}",
            )


def devices_from_text(text: str) -> list[str]:
    """Read ``a,b``.

    Raises:
        NuwaError: If fewer than two devices are named.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) < 2:
        raise NuwaError(
            f"a comparison needs two devices, found {text!r}", hint="nuwa query devices --compare jetson-nano,host"
        )
    return names


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
