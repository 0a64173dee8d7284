"""What ``nuwa query`` can be asked: rows of each topic, and the filters that each understands."""

from collections.abc import Mapping, Sequence
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.budget import explain_budget
from nuwa_search.store.compare import compare_devices
from nuwa_search.store.lists import query_certificates, query_devices, query_latencies, query_studies
from nuwa_search.store.query import find_subnets
from nuwa_search.store.sql import run_sql
from nuwa_search.store.store import Store
from nuwa_search.store.wanted import SubnetFilter

Rows = list[dict[str, Any]]

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


def find_rows(topic: str, store: Store, values: Mapping[str, Any]) -> Rows:
    """Read the rows of a topic.

    Args:
        topic: ``subnets``, ``latencies``, ``studies``, ``devices`` or ``certificates``.
        store: The database.
        values: Of the flags.
    """
    device, limit, max_ms = values["device"], values["limit"], values["max_ms"]
    classes = _classes(values)
    if topic == "latencies":
        only = values["measured_only"]
        return query_latencies(
            store, device=device, model=values["model"], max_ms=max_ms, measured_only=only, limit=limit
        )
    if topic == "studies":
        return query_studies(store, device=device, classes=classes, base=values["base"], limit=limit)
    if topic == "devices":
        return query_devices(store, device=device, limit=limit)
    if topic == "certificates":
        model = values["model"]
        found = query_certificates(store, device=device, subnet_id=model, max_ms=max_ms, limit=limit)
        if model is not None and not found:
            return query_certificates(store, device=device, arch_id=model, max_ms=max_ms, limit=limit)
        return found
    wanted = SubnetFilter(
        device=device,
        max_ms=max_ms,
        min_top1=values["min_top1"],
        classes=classes,
        base=values["base"],
        measured_only=values["measured_only"],
    )
    return find_subnets(store, wanted, pareto=values["pareto"], sort=values["sort"] or "top1", limit=limit)


def find_budgets(store: Store, values: Mapping[str, Any]) -> Rows:
    """Explain a budget, for each device and task."""
    return explain_budget(
        store,
        device=values["device"],
        max_ms=values["max_ms"],
        classes=_classes(values),
        base=values["base"],
        measured_only=values["measured_only"],
    )


def find_comparison(store: Store, devices: Sequence[str], values: Mapping[str, Any]) -> Rows:
    """Put the subnets on the fronts of some devices side by side."""
    return compare_devices(
        store,
        devices,
        classes=_classes(values),
        base=values["base"],
        limit=values["limit"],
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


def find_by_sql(store: Store, query: str, limit: int | None) -> tuple[Rows, list[str], bool]:
    """Run a SELECT of the user's.

    Returns:
        Its rows, its columns (a name that comes twice has a number the second time), and whether there
        were more rows than are read.
    """
    result = run_sql(store, query) if limit is None else run_sql(store, query, max_rows=limit)
    names: list[str] = []
    for column in result.columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return [dict(zip(names, row, strict=True)) for row in result.rows], names, result.is_truncated


def _classes(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    if values["classes"] is None:
        return None
    from nuwa_search.core.task import parse_classes  # knows images too, and loads numpy for them

    return parse_classes(values["classes"])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
