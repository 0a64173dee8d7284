"""Pruning: what is old and needed by nothing goes, whatever is needed stays, and fronts answer as before."""

from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from sqlalchemy import text

from nuwa_search.lab.pruning import prune_database
from nuwa_search.store.clock import utc_now
from nuwa_search.store.copying import count_rows
from nuwa_search.store.records import CertificateRecord, SearchTerms
from nuwa_search.store.store import Store
from tests.support.store_values import BASE, NANO, OTHER_TASK, TASK, prediction, record_basics, subnet, top1

CUTOFF = utc_now() - timedelta(days=180)
OLD = "2020-01-01 00:00:00"
_DATED = {
    "nuwa_subnets": ("created_at",),
    "nuwa_scores": ("created_at",),
    "nuwa_latencies": ("updated_at",),
    "nuwa_searches": ("created_at", "heartbeat_at", "finished_at"),
    "nuwa_jobs": ("created_at", "finished_at"),
    "nuwa_workers": ("heartbeat_at",),
}


def _search(store: Store, study: str, numbers: range, *, task_id: str = TASK.task_id, state: str = "done") -> None:
    """Record a search that scored the subnets of these numbers: the lower the number, the better in all."""
    terms = SearchTerms(
        device_id=NANO.device_id, budget_ms=5.0, seed=0, base_id=BASE.base_id, task_id=task_id, settings={}
    )
    claim = store.start_search(study, terms)
    store.record_subnets(subnet(n, study=study, task_id=task_id) for n in numbers)
    store.record_scores(top1(n, 0.9 - n / 100) for n in numbers)
    store.record_predicted_latencies(prediction(n, 1.0 + n) for n in numbers)
    store.add_event(study, "trial", {"number": 0, "state": "scored"})
    if state == "done":
        store.finish_search(claim, "done", result={"artifacts": {"dir": None}})


def _age_everything(store: Store) -> None:
    with store.write() as connection:
        for table, columns in _DATED.items():
            for column in columns:
                connection.execute(text(f"UPDATE {table} SET {column} = '{OLD}' WHERE {column} IS NOT NULL"))


@pytest.fixture
def old_store(store: Store) -> Store:
    """Old searches: ``shipped`` (a certificate), ``front`` (its subnet 0 is best), ``gone`` (4 to 7); and one new."""
    record_basics(store)
    _search(store, "front", range(0, 1))
    _search(store, "shipped", range(1, 4))
    certificate = CertificateRecord("subnet-2", NANO.device_id, 5.0, "met", {})
    store.record_certificate(certificate)
    _search(store, "gone", range(4, 8))
    store.add_job("search", {}, study="gone")
    claim = store.claim_job()
    assert claim is not None
    store.finish_job(claim, "done")
    _search(store, "other task", range(20, 24), task_id=OTHER_TASK.task_id)
    _age_everything(store)
    _search(store, "new", range(8, 10))
    return store


def test_what_nothing_needs_goes_and_fronts_stay(old_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "finetune" / "gone"
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_bytes(bytes(1000))
    (tmp_path / "finetune" / "shipped").mkdir()
    before = count_rows(old_store)
    fronts = old_store.subnets.find(pareto=True)
    shown = {str(row["subnet_id"]) for row in old_store.subnets.find(limit=100)}
    plan = prune_database(old_store, before=CUTOFF, cache_dir=tmp_path, dry_run=True)
    assert not plan.is_deleted
    assert count_rows(old_store) == before
    assert folder.exists()

    done = prune_database(old_store, before=CUTOFF, cache_dir=tmp_path)
    assert done.pruned == plan.pruned
    assert done.pruned.studies == ("gone",)
    assert done.pruned.kept == {"with subnets that are needed": 3}
    assert [entry.path for entry in done.checkpoints] == [folder]
    assert [path.name for path in (tmp_path / "finetune").iterdir()] == ["shipped"]
    after = count_rows(old_store)
    assert {name: before[name] - after[name] for name in before if before[name] != after[name]} == done.pruned.rows
    assert old_store.subnets.find(pareto=True) == fronts != []
    # 2 has a certificate, 0 and 20 are on a front, 8 and 9 are new; the rest of their searches is beaten by them
    left = {str(row["subnet_id"]) for row in old_store.subnets.find(limit=100)}
    assert left == {f"subnet-{n}" for n in (0, 2, 8, 9, 20)}
    assert shown - left == {f"subnet-{n}" for n in (1, 3, 4, 5, 6, 7, 21, 22, 23)}
    assert {search.study for search in old_store.searches()} == {"front", "shipped", "other task", "new"}
    assert old_store.jobs() == ()
    assert prune_database(old_store, before=CUTOFF, cache_dir=tmp_path).pruned.num_rows == 0


def test_the_task_of_a_running_search_is_left_alone(old_store: Store, tmp_path: Path) -> None:
    _search(old_store, "running", range(30, 31), task_id=OTHER_TASK.task_id, state="running")
    prune_database(old_store, before=CUTOFF, cache_dir=tmp_path)
    left = {str(row["subnet_id"]) for row in old_store.subnets.find(limit=100)}
    assert {f"subnet-{n}" for n in (20, 21, 22, 23, 30)} <= left
    assert "subnet-4" not in left


def test_optunas_study_goes_with_its_search(old_store: Store, tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(old_store.url.render_as_string(hide_password=False))
    try:
        for name in ("gone", "shipped", "somebody's own"):
            optuna.create_study(study_name=name, storage=storage, load_if_exists=True).add_trial(
                optuna.trial.create_trial(
                    params={"a": 1}, distributions={"a": optuna.distributions.IntDistribution(0, 9)}, value=1.0
                )
            )
        rows = prune_database(old_store, before=CUTOFF, cache_dir=tmp_path).pruned.rows
        assert [rows[name] for name in ("studies", "trials", "trial_params", "trial_values")] == [1, 1, 1, 1]
        assert sorted(optuna.get_all_study_names(storage)) == ["shipped", "somebody's own"]
    finally:
        for name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=name, storage=storage)
        storage.remove_session()
        storage.engine.dispose()
