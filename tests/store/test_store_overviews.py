"""What the service asks the database: searches with their jobs, lineages, tasks, tables."""

from dataclasses import replace

from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.lut_rows import count_lut_rows, find_lut_rows
from nuwa_search.store.marks import count_subnets, find_base_marks, find_tasks
from nuwa_search.store.records import EngineRecord, ExportRecord, FinetuneRecord, LutEntry, SearchTerms
from nuwa_search.store.store import Store
from nuwa_search.store.studies import find_studies, find_study
from nuwa_search.store.wanted import SubnetFilter
from tests.support.store_values import (
    BASE,
    BOARD,
    NANO,
    OTHER_TASK,
    PROTOCOL,
    TASK,
    cut,
    measured,
    prediction,
    record_basics,
    subnet,
)


def test_searches_and_queued_ones_are_one_list(store: Store) -> None:
    record_basics(store)
    asked = {"budget_ms": 5.0, "device": NANO.name, "base": "default", "classes": ["bus"]}
    store.add_job("search", {"request": asked, "resume": False}, study="queued")
    claim = store.start_search(
        "typed",
        SearchTerms(device_id=NANO.device_id, budget_ms=4.0, seed=1, settings={"budget_ms": 4.0}, task_id=TASK.task_id),
    )
    assert [(s.study, s.state, s.is_alive) for s in find_studies(store, limit=10)] == [
        ("typed", "running", True),
        ("queued", "queued", True),
    ]
    typed, queued = find_study(store, "typed"), find_study(store, "queued")
    assert typed is not None
    assert queued is not None
    assert (typed.device, typed.classes, typed.job) == (NANO.name, list(TASK.classes), None)
    assert (queued.device_id, queued.classes, queued.settings) == (None, ["bus"], asked)
    store.finish_search(claim, "done", result={"schema": "nuwa.search/1"})
    assert [s.study for s in find_studies(store, state="done", limit=10)] == ["typed"]
    assert [s.study for s in find_studies(store, device=NANO.name, limit=1, offset=1)] == ["queued"]
    assert find_studies(store, device="nothing", limit=10) == []
    assert find_study(store, "nothing") is None


def test_a_resumed_search_shows_what_its_newest_job_does(store: Store) -> None:
    record_basics(store)
    claim = store.start_search(
        "mine", SearchTerms(device_id=NANO.device_id, budget_ms=4.0, seed=1, settings={"trials": 6})
    )
    store.finish_search(claim, "interrupted")
    job = store.add_job("search", {"request": {"trials": 9, "device": NANO.name}, "resume": True}, study="mine")
    found = find_study(store, "mine")
    assert found is not None
    assert (found.state, found.settings["trials"], found.finished_at) == ("queued", 9, None)
    store.cancel_job(job.job_id)
    found = find_study(store, "mine")
    assert found is not None
    assert (found.state, found.settings["trials"], found.is_alive) == ("interrupted", 6, False)


def test_lineage_of_a_subnet(store: Store) -> None:
    record_basics(store)
    store.record_subnets([subnet(0)])
    store.record_finetune(FinetuneRecord("subnet-0", {"steps": 4}, {"top1_search": 0.5}, "weights", 1.5))
    store.record_export(ExportRecord("subnet-0", "onnx", "/b/model.onnx", 13, {"fp32": {}}))
    store.record_engine(EngineRecord("onnx", NANO.device_id, "trtexec"))
    store.save_measurement(measured(4.0), subnet_id="subnet-0")
    store.set_bundle("subnet-0", "/b")
    found = find_lineage(store, "subnet-0")
    assert (found.bundle_dir, found.finetunings[0].seconds, found.exports[0].opset) == ("/b", 1.5, 13)
    assert (found.engines[0].device, found.engines[0].command) == (NANO.name, "trtexec")
    assert found.measurements[0].details["latency_ms"]["median"] == 4.0
    (once,) = found.measurements
    assert (once.protocol_id, once.device_id, once.provenance) == (PROTOCOL.protocol_id, NANO.device_id, "emulated")
    assert find_lineage(store, "nothing").measurements == ()


def test_tasks_and_subnets_are_counted_per_device(store: Store) -> None:
    record_basics(store)
    store.record_subnets([subnet(0), subnet(1), subnet(2, task_id=OTHER_TASK.task_id)])
    store.record_predicted_latencies([prediction(n, 1.0 + n) for n in range(3)] + [prediction(0, 2.0, device=BOARD)])
    assert count_subnets(store) == {
        (NANO.device_id, TASK.task_id): 2,
        (NANO.device_id, OTHER_TASK.task_id): 1,
        (BOARD.device_id, TASK.task_id): 1,
    }
    assert [(t["task_id"], t["num_subnets"]) for t in find_tasks(store, device=NANO.name)] == [
        (OTHER_TASK.task_id, 1),
        (TASK.task_id, 2),
    ]
    assert [t["task_id"] for t in find_tasks(store, device=BOARD.device_id)] == [TASK.task_id]
    rows = store.subnets.find(SubnetFilter(device=NANO.name, task_id=TASK.task_id), sort="latency")
    assert [row["subnet_id"] for row in rows] == ["subnet-0", "subnet-1"]
    ids = store.subnet_ids_of_archs(
        [cut(0).arch_id, cut(2).arch_id, "nothing"], base_id=BASE.base_id, task_id=TASK.task_id
    )
    assert ids == {cut(0).arch_id: "subnet-0"}
    shape = cut(0)  # with another block gone it is another net, and the shape does not say which is meant
    other = replace(shape, blocks=(shape.blocks[1], shape.blocks[0], *shape.blocks[2:]))
    store.record_subnets([replace(subnet(0), subnet_id="other", arch=other)])
    assert store.subnet_ids_of_archs([shape.arch_id], base_id=BASE.base_id, task_id=TASK.task_id) == {}


def test_trials_know_their_subnets_by_number(store: Store) -> None:
    record_basics(store)
    store.start_search("study", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    store.record_subnets([subnet(0, study="study"), subnet(1, study="study"), subnet(2)])
    assert store.subnet_ids_of_trials("study") == {0: "subnet-0", 1: "subnet-1"}
    assert store.subnet_ids_of_trials("none") == {}


def test_marks_of_a_base_come_from_the_newest_search(store: Store) -> None:
    record_basics(store)
    about = {"base_id": BASE.base_id, "task_id": TASK.task_id, "device_id": NANO.device_id}
    for study, latency_ms in (("one", 11.0), ("two", 12.0)):
        claim = store.start_search(study, SearchTerms(budget_ms=5.0, seed=0, settings={}, **about))
        store.finish_search(claim, "done", result={"base": {"latency_ms": latency_ms, "top1_restricted": 0.9}})
    (mark,) = find_base_marks(store, device=NANO.name, base=BASE.name, task_id=TASK.task_id)
    assert (mark["study"], mark["latency_ms"], mark["top1_restricted"]) == ("two", 12.0, 0.9)
    assert find_base_marks(store, task_id=OTHER_TASK.task_id) == []


def test_table_rows_come_in_pages(store: Store) -> None:
    entries = [LutEntry({"kind": "mlp", "mlp_width": n}, 1.0 + n, "emulated") for n in range(5)]
    lut_id = store.save_lut_rows(NANO, PROTOCOL, entries)
    assert count_lut_rows(store, device_id=NANO.device_id) == count_lut_rows(store, lut_id=lut_id) == 5
    whole = find_lut_rows(store, device_id=NANO.device_id, limit=10)
    assert sorted((row["key"]["mlp_width"], row["latency_ms"]) for row in whole) == [(n, 1.0 + n) for n in range(5)]
    assert find_lut_rows(store, lut_id=lut_id, limit=2, offset=1) == whole[1:3]
    assert find_lut_rows(store, device_id="nothing", limit=10) == []
