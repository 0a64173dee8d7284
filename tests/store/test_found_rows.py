"""Every answer's rows hold what their types say, on both databases."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nuwa_search.store.found_rows import (
    CertificateFound,
    CollaborationFound,
    DeviceFound,
    LatencyFound,
    StudyFound,
    SubnetFound,
)
from nuwa_search.store.lists import query_devices
from nuwa_search.store.records import CertificateRecord, ScoreRecord, SearchTerms
from nuwa_search.store.store import Store
from tests.support.store_values import BASE, BOARDS, NANO, TASK, measured, record_basics, subnet, top1


def is_a(value: object, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(is_a(value, part) for part in get_args(hint))
    plain = get_origin(hint) or hint
    return value is None if plain is type(None) else type(value) is plain or (plain is float and type(value) is int)


PIXELS = {"test": 0.4, "search": 0.6}


def wrong(row: Mapping[str, Any], kind: type) -> dict[str, object]:
    """List what a row lacks, has beside, or holds of another type."""
    hints = get_type_hints(kind)
    found: dict[str, object] = {name: row.get(name, "missing") for name in row.keys() ^ hints.keys()}
    return found | {name: row[name] for name in hints if name in row and not is_a(row[name], hints[name])}


def test_rows_are_as_typed(store: Store) -> None:
    record_basics(store)
    terms = SearchTerms(
        device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}, base_id=BASE.base_id, task_id=TASK.task_id
    )
    claim = store.start_search("mine", terms)
    store.record_subnets([subnet(0)])
    store.record_scores([top1(0, 0.9)])
    store.record_scores([ScoreRecord("subnet-0", "miou", split, 50, 0, value) for split, value in PIXELS.items()])
    measurement_id = store.save_measurement(measured(4.0), subnet_id="subnet-0")
    store.record_certificate(
        CertificateRecord("subnet-0", NANO.device_id, 5.0, "met (emulated)", {"p50": 4.0}, measurement_id, "/c.json")
    )
    store.record_collaboration(BOARDS)
    store.finish_search(claim, "done", result={"seconds": {"total": 1.0}})
    answers: list[tuple[type, list[Any]]] = [
        (SubnetFound, store.subnets.find()),
        (LatencyFound, store.latencies.find()),
        (StudyFound, store.studies.find()),
        (CertificateFound, store.certificates.find()),
        (CollaborationFound, store.collaborations.find()),
        (DeviceFound, query_devices(store, device="jetson-nano")),
    ]
    for kind, rows in answers:
        assert len(rows) == 1, kind
        assert wrong(rows[0], kind) == {}, kind
    assert store.subnets.find()[0]["miou"] == PIXELS["test"], "of the test split alone"
