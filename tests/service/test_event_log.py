"""The log of a search tells of every proposal once, those of a run that was killed included."""

from pathlib import Path

import optuna

from nuwa_search.search.job.event_log import log_of_search
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import open_store
from tests.support.store_values import NANO, record_basics

REPORT = {"state": "scored", "kl": 0.5, "predicted_latency_ms": 4.0}


def test_what_a_killed_run_did_not_tell_is_told_by_the_next(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nuwa.sqlite"
    with open_store(url) as store:
        record_basics(store)
        store.start_search("mine", SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
        log_of_search(store, "mine", wanted=4)
        assert store.trials("mine") == []
        storage = optuna.storages.RDBStorage(url)
        study = optuna.create_study(study_name="mine", storage=storage)
        for number, state in enumerate(("scored", "infeasible", "pruned")):
            attrs = {"nuwa.report": REPORT | {"state": state}, "arch_id": f"arch-{number}"}
            study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=attrs))
        study.ask()  # still running when it was killed: nothing became of it
        storage.remove_session()
        storage.engine.dispose()
        store.add_event("mine", "trial", REPORT | {"number": 0, "arch_id": "arch-0", "scored": 1, "wanted": 4})
        for _ in range(2):  # the second run finds nothing left to tell
            log_of_search(store, "mine", wanted=4)
            told = [event.payload for event in store.events("mine") if event.kind == "trial"]
            assert [(t["number"], t["state"], t["scored"]) for t in told] == [
                (0, "scored", 1),
                (1, "infeasible", 1),
                (2, "pruned", 2),
            ]
        assert [(t["number"], t["arch_id"]) for t in store.trials("mine")] == [(n, f"arch-{n}") for n in range(3)]
