"""Filters, fronts and budgets give what a walk over all rows by hand gives."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

import nuwa_search
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.pipeline import PIPELINE_VERSION
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.store import heads
from nuwa_search.store.budget import explain_budget, latency_of
from nuwa_search.store.compare import compare_devices
from nuwa_search.store.found_rows import SubnetFound
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.sort_orders import SORTS
from nuwa_search.store.store import Store
from nuwa_search.store.subnet_columns import COLUMNS
from nuwa_search.store.tables import TaskRow
from nuwa_search.store.tasks import find_classes_hash
from nuwa_search.store.wanted import SubnetFilter
from tests.support.store_values import (
    BASE,
    BOARD,
    NANO,
    NUM_WITH_TIES,
    TASK,
    filled_with_ties,
    prediction,
    record_basics,
    subnet,
    top1,
)


@pytest.fixture(scope="module")
def filled(module_store: Store) -> Store:
    """Two tasks on two devices with many ties, a few measured rows, two subnets without accuracy or latency."""
    return filled_with_ties(module_store)


def names(rows: Iterable[SubnetFound]) -> list[tuple[str, str]]:
    return sorted((row["subnet_id"], row["device"] or "") for row in rows)


def is_beaten(row: SubnetFound, rows: Iterable[SubnetFound]) -> bool:
    return any(
        (other["device_id"], other["task_id"]) == (row["device_id"], row["task_id"])
        and other["top1"] is not None
        and row["top1"] is not None
        and latency_of(other) <= latency_of(row)
        and other["top1"] >= row["top1"]
        and (latency_of(other) < latency_of(row) or other["top1"] > row["top1"])
        for other in rows
    )


FILTERS = [
    SubnetFilter(),
    SubnetFilter(device="jetson-nano"),
    SubnetFilter(device=BOARD.device_id, max_ms=3.75),
    SubnetFilter(min_top1=0.55),
    SubnetFilter(max_ms=4.0, min_top1=0.52, classes=("train", "bus")),
    SubnetFilter(classes=("lion", "tiger"), base="vit_tiny"),
    SubnetFilter(base="another"),
    SubnetFilter(measured_only=True, max_ms=4.5),
    SubnetFilter(device="nothing"),
    SubnetFilter(subnet_ids=("subnet-4", "subnet-7", "nothing")),
]


def matches(row: SubnetFound, wanted: SubnetFilter) -> bool:
    has_latency = row["device"] is not None
    return (
        (wanted.device is None or wanted.device in (row["device"], row["device_id"]))
        and (wanted.max_ms is None or (has_latency and latency_of(row) <= wanted.max_ms))
        and (wanted.min_top1 is None or (row["top1"] is not None and row["top1"] >= wanted.min_top1))
        and (wanted.classes is None or sorted(wanted.classes) == sorted(row["classes"]))
        and (wanted.base is None or wanted.base in (row["base"], row["base_id"]))
        and (wanted.subnet_ids is None or row["subnet_id"] in wanted.subnet_ids)
        and (not wanted.measured_only or row["measured_latency_ms"] is not None)
    )


@pytest.mark.parametrize("wanted", FILTERS)
def test_filters_keep_what_matches(filled: Store, wanted: SubnetFilter) -> None:
    everything = filled.subnets.find()
    assert len(everything) == 2 * NUM_WITH_TIES - 1  # subnet 4 has no latency: one row in place of two
    assert names(filled.subnets.find(wanted)) == names(row for row in everything if matches(row, wanted))


@pytest.mark.parametrize("wanted", FILTERS)
def test_front_is_what_nothing_beats(filled: Store, wanted: SubnetFilter) -> None:
    rows = [r for r in filled.subnets.find(wanted) if r["device"] is not None and r["top1"] is not None]
    front = filled.subnets.find(wanted, pareto=True)
    assert names(front) == names(row for row in rows if not is_beaten(row, rows))


def test_every_figure_names_its_source(filled: Store) -> None:
    (row,) = filled.subnets.find(SubnetFilter(device="jetson-nano", measured_only=True), limit=1)
    (source,) = [r for r in filled.measurements(NANO.device_id) if r.measurement_id == row["measurement_id"]]
    assert source.subnet_id == row["subnet_id"]
    assert source.measurement.latency_ms.median == row["measured_latency_ms"]
    assert (row["split"], row["score_kind"], row["num_images"]) == ("test", "top1", 500)
    assert row["top1_interval"] == list(wilson_interval(round(500 * (row["top1"] or 0.0)), 500))


@pytest.mark.parametrize("sort", SORTS)
def test_limit_is_a_head_of_the_sorted_whole(filled: Store, sort: str) -> None:
    wanted = SubnetFilter(device="jetson-nano")
    whole = filled.subnets.find(wanted, sort=sort)
    assert names(filled.subnets.find(wanted, sort=sort, limit=7)) == names(whole[:7])
    keys: dict[str, Callable[[SubnetFound], Any]] = {
        "top1": lambda r: (-(r["top1"] or -1), latency_of(r)),
        "latency": lambda r: (latency_of(r), -(r["top1"] or -1)),
        "macs": lambda r: r["macs"],
        "params": lambda r: r["params"],
        "newest": lambda r: int(r["subnet_id"].split("-")[1]) < NUM_WITH_TIES // 2,
    }
    assert [keys[sort](row) for row in whole] == sorted(keys[sort](row) for row in whole)


@pytest.mark.parametrize("few", [0, 6])
def test_head_is_the_same_however_it_is_found(filled: Store, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are sorted where they are few, and walked where they are many: all of them, or those of some pairs."""
    monkeypatch.setattr(heads, "FEW", few)
    for wanted, sort in itertools.product(FILTERS[:-1], ("top1", "latency")):
        whole = [(row["subnet_id"], row["device"]) for row in filled.subnets.find(wanted, sort=sort)]
        head = [(row["subnet_id"], row["device"]) for row in filled.subnets.find(wanted, sort=sort, limit=5)]
        assert head == whole[:5], (wanted, sort)


def test_devices_are_compared_on_the_subnets_of_their_fronts(filled: Store) -> None:
    devices = ("jetson-nano", "lab-nano")
    fronts = {d: names(filled.subnets.find(SubnetFilter(device=d), pareto=True)) for d in devices}
    rows = compare_devices(filled, devices)
    assert sorted(row["subnet_id"] for row in rows) == sorted({name for front in fronts.values() for name, _ in front})
    for row, device in itertools.product(rows, devices):
        (known,) = filled.subnets.find(SubnetFilter(device=device, subnet_ids=[row["subnet_id"]]))
        assert row["latencies"][device]["latency_ms"] == latency_of(known)
        assert row["latencies"][device]["is_on_front"] == ((row["subnet_id"], device) in fronts[device])
    assert compare_devices(filled, ["jetson-nano", "nothing"], limit=1)[0]["latencies"]["nothing"] is None


def test_unknown_sort_is_named(store: Store) -> None:
    with pytest.raises(NuwaError, match="unknown sort order 'latencies'"):
        store.subnets.find(sort="latencies")


def test_empty_database_answers_everything(store: Store) -> None:
    assert store.subnets.find() == []
    assert store.subnets.find(pareto=True) == []
    assert explain_budget(store, device="jetson-nano", max_ms=3.0) == []


def test_budget_is_explained_by_the_front(filled: Store) -> None:
    for answer in explain_budget(filled, device="jetson-nano", max_ms=3.5):
        wanted = SubnetFilter(device="jetson-nano", classes=answer.classes)
        rows = [row for row in filled.subnets.find(wanted) if row["top1"] is not None]
        under = [row["top1"] for row in rows if row["top1"] is not None and latency_of(row) <= 3.5]
        assert answer.best is not None
        assert answer.best["top1"] == max(under)
        assert all(step["extra_ms"] > 0 and step["extra_top1"] > 0 for step in answer.steps_up)
        assert all(step["extra_ms"] < 0 or step["extra_top1"] == 0 for step in answer.steps_down)
        assert [latency_of(row) for row in answer.curve] == sorted(latency_of(row) for row in answer.curve)


def test_budget_that_nothing_meets_still_tells_what_is_next(filled: Store) -> None:
    answers = explain_budget(filled, device="jetson-nano", max_ms=0.1, classes=TASK.classes, num_steps=1)
    (answer,) = answers
    assert answer.best is None
    assert answer.steps_down == ()
    assert len(answer.steps_up) == 1
    assert answer.steps_up[0]["extra_ms"] is None


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_budget_that_is_no_budget_is_refused(store: Store, budget: float) -> None:
    with pytest.raises(NuwaError, match="positive number of milliseconds"):
        explain_budget(store, device="jetson-nano", max_ms=budget)


def test_tables_hold_the_same_rows(filled: Store) -> None:
    with nuwa_search.open(filled.command_url) as lab:
        frame = lab.query(device="jetson-nano", pareto=True, sort="latency").to_frame()
        counted = lab.query(sql="SELECT device, count(*) AS n FROM v_subnets GROUP BY device ORDER BY n").to_frame()
    rows = filled.subnets.find(SubnetFilter(device="jetson-nano"), pareto=True, sort="latency")
    assert set(frame.columns) == {*COLUMNS, "derive_command"}
    assert list(COLUMNS) == sorted(rows[0], key=COLUMNS.index)
    assert frame["subnet_id"].tolist() == [row["subnet_id"] for row in rows]
    assert counted["n"].tolist() == [1, NUM_WITH_TIES - 1, NUM_WITH_TIES - 1]


def test_scores_of_an_earlier_preprocessing_are_marked_and_share_no_front(store: Store) -> None:
    record_basics(store)
    now = replace(TASK, task_id="task-now", pipeline=PIPELINE_VERSION + 1)
    store.record_task(now)
    store.record_subnets([subnet(0), subnet(1, task_id=now.task_id)])
    store.record_scores([top1(0, 0.9), top1(1, 0.5)])
    store.record_predicted_latencies([prediction(0, 1.0), prediction(1, 2.0)])
    found = {row["subnet_id"]: row for row in store.subnets.find(SubnetFilter(classes=TASK.classes), pareto=True)}
    assert {name: (row["pipeline"], row["is_current"]) for name, row in found.items()} == {
        "subnet-0": (1, PIPELINE_VERSION == 1),
        "subnet-1": (PIPELINE_VERSION + 1, False),
    }


def test_classes_are_found_by_their_names_else_by_names_like_them(store: Store) -> None:
    for number, classes in enumerate((("A", "b"), ("a", "b"), ("pickup_truck", "Bus"))):
        store.record_task(replace(TASK, task_id=f"task-{number}", classes=classes))
    ids = {}
    with store.read() as connection:
        for asked in (("b", "A"), ("a", "b"), ("bus", "Pickup Truck"), ("bus", "tram")):
            query = select(TaskRow.task_id).where(TaskRow.classes_hash == find_classes_hash(connection, asked))
            ids[asked] = list(connection.execute(query).scalars())
        with pytest.raises(NuwaError, match="ambiguous: A, b; a, b"):
            find_classes_hash(connection, ("A", "B"))
    assert list(ids.values()) == [["task-0"], ["task-1"], ["task-2"], []]


def test_a_name_that_came_to_mean_other_weights_mixes_nothing(store: Store) -> None:
    record_basics(store)
    store.record_subnets([subnet(0)])
    later = replace(BASE, base_id="base-later")
    store.record_base(later)  # the same name, other weights
    store.record_subnets([replace(subnet(1), base_id="base-later")])
    store.record_scores([top1(0, 0.9), top1(1, 0.5)])
    store.record_predicted_latencies([prediction(0, 1.0), prediction(1, 2.0)])
    assert store.base_ids(BASE.name) == ("base-later", BASE.base_id)
    for wanted, ids in ((BASE.name, ["subnet-1"]), ("base-later", ["subnet-1"]), (BASE.base_id, ["subnet-0"])):
        for pareto in (True, False):
            found = store.subnets.find(SubnetFilter(base=wanted), pareto=pareto)
            assert [row["subnet_id"] for row in found] == ids
    assert {row["base_id"]: row["base"] for row in store.subnets.find()} == {
        BASE.base_id: BASE.name,
        "base-later": BASE.name,
    }
    store.record_base(BASE)  # the old weights came back under the name
    assert store.base_ids(BASE.name) == (BASE.base_id, "base-later")


def test_a_base_keeps_its_first_name_and_is_found_by_all(store: Store) -> None:
    record_basics(store)
    store.record_subnets([subnet(0)])
    store.start_search(
        "study", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}, base_id=BASE.base_id)
    )
    store.record_base(replace(BASE, name="/elsewhere/base"))
    store.record_base(BASE)
    assert store.load_base(BASE.base_id).name == BASE.name
    assert store.base_names() == tuple(sorted(("/elsewhere/base", BASE.name)))
    assert store.names_of_base(BASE.base_id) == (BASE.name, "/elsewhere/base")
    for wanted in (BASE.name, "/elsewhere/base", BASE.base_id):
        (row,) = store.subnets.find(SubnetFilter(base=wanted))
        assert row["base"] == BASE.name
        assert [row["study"] for row in store.studies.find(base=wanted)] == ["study"]
    assert store.subnets.find(SubnetFilter(base="another")) == []
    assert store.studies.find(base="another") == []
