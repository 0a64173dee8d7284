"""Rows of each topic that a query can ask for."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from nuwa_search.lab.query_request import QueryRequest
from nuwa_search.search.bundle_list import bundle_rows
from nuwa_search.store.budget import BudgetAnswer, explain_budget
from nuwa_search.store.compare import compare_devices
from nuwa_search.store.lists import query_devices
from nuwa_search.store.sql import run_sql
from nuwa_search.store.store import Store
from nuwa_search.store.wanted import SubnetFilter

Rows = Sequence[Mapping[str, Any]]


def find_rows(topic: str, store: Store, request: QueryRequest) -> Rows:
    """Read the rows of a topic.

    Args:
        topic: ``subnets``, ``latencies``, ``studies``, ``devices``, ``certificates``, ``bundles`` or
            ``collaborations``.
        store: The database.
        request: The filters.
    """
    device, limit, max_ms = request.device, request.limit, request.max_ms
    classes = request.classes
    if topic == "latencies":
        only = request.measured_only
        return store.latencies.find(device=device, model=request.model, max_ms=max_ms, measured_only=only, limit=limit)
    if topic == "studies":
        return store.studies.find(device=device, classes=classes, base=request.base, limit=limit)
    if topic == "devices":
        return query_devices(store, device=device, limit=limit)
    if topic == "bundles":
        rows = bundle_rows(store.bundles.find(limit=limit if device is None else None), device=device)
        return list(islice(rows, limit))
    if topic == "collaborations":
        return store.collaborations.find(device=device, classes=classes, base=request.base, max_ms=max_ms, limit=limit)
    if topic == "certificates":
        model = request.model
        found = store.certificates.find(device=device, subnet_id=model, max_ms=max_ms, limit=limit)
        if model is not None and not found:
            return store.certificates.find(device=device, arch_id=model, max_ms=max_ms, limit=limit)
        return found
    wanted = SubnetFilter(
        device=device,
        max_ms=max_ms,
        min_top1=request.min_top1,
        classes=classes,
        base=request.base,
        measured_only=request.measured_only,
    )
    return store.subnets.find(wanted, pareto=request.pareto, sort=request.sort or "top1", limit=limit)


def find_budgets(store: Store, request: QueryRequest) -> list[BudgetAnswer]:
    """Explain a budget, for each device and task."""
    return explain_budget(
        store,
        device=request.device,
        max_ms=request.max_ms,
        classes=request.classes,
        base=request.base,
        measured_only=request.measured_only,
    )


def find_comparison(store: Store, devices: Sequence[str], request: QueryRequest) -> Rows:
    """Put the subnets on the fronts of some devices side by side."""
    return compare_devices(
        store,
        devices,
        classes=request.classes,
        base=request.base,
        limit=request.limit,
    )


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
