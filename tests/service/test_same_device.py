"""Predictors and studies of another emulator are refused, with what to do."""

import dataclasses
from pathlib import Path

import pytest

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.emulator import EMULATOR_VERSION
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.job.moved_on import moved_on, require_origin
from nuwa_search.search.request import SearchRequest, dict_from_request
from nuwa_search.store.records import PredictorRecord, SearchState, SearchTerms
from nuwa_search.store.same_device import require_predictor_of, require_study_of
from nuwa_search.store.store import open_store
from tests.support.store_values import BASE, NANO, TASK, record_basics

OLDER = dataclasses.replace(NANO, options=())


def test_a_predictor_of_another_emulator_is_refused(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "a.sqlite")) as store:
        record_basics(store)
        store.record_device(OLDER)
        old = PredictorRecord("old", OLDER.device_id, None, {}, {})
        require_predictor_of(OLDER, old, store)
        with pytest.raises(NuwaError, match="jetson-nano@emulator-1") as error:
            require_predictor_of(NANO, old, store)
    assert error.value.hint == "nuwa profile jetson-nano"


def test_a_study_of_another_emulator_is_not_gone_on_with(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "a.sqlite")) as store:
        record_basics(store)
        store.record_device(OLDER)
        for study, spec in (("old", OLDER), ("new", NANO)):
            claim = store.start_search(
                study,
                SearchTerms(
                    device_id=spec.device_id,
                    budget_ms=5.0,
                    seed=0,
                    settings={},
                    base_id=BASE.base_id,
                    task_id=TASK.task_id,
                ),
                resume=False,
            )
            store.finish_search(claim, "interrupted")
        require_study_of(NANO, "new", store)
        require_study_of(NANO, "not there", store)
        with pytest.raises(NuwaError, match="jetson-nano@emulator-1") as error:
            require_study_of(NANO, "old", store)
    assert "nuwa-search --study old --resume" in error.value.hint


def test_a_study_of_another_emulator_goes_on_under_another_name(tmp_path: Path) -> None:
    request = SearchRequest(budget_ms=5.0, predictor_id="pinned", bundle_dir="/runs/old")

    def start(study: str, spec: DeviceSpec, *, wanted: SearchRequest, state: SearchState) -> None:
        claim = store.start_search(
            study,
            SearchTerms(device_id=spec.device_id, budget_ms=5.0, seed=0, settings=dict_from_request(wanted)),
            resume=True,
        )
        store.finish_search(claim, state)

    with open_store(str(tmp_path / "a.sqlite")) as store:
        record_basics(store)
        store.record_device(OLDER)
        start("old", OLDER, wanted=request, state="interrupted")
        start("new", NANO, wanted=request, state="interrupted")
        assert moved_on("new", store) is None
        assert moved_on("not there", store) is None
        moved = moved_on("old", store)
        assert moved is not None
        assert (moved.study, moved.is_begun) == (f"old-emulator-{EMULATOR_VERSION}", False)
        began = moved.begin(request)
        assert (began.from_study, began.predictor_id, began.bundle_dir) == ("old", None, "/runs/old")
        require_origin(began, store)
        with pytest.raises(NuwaError, match="there is no study 'gone'"):
            require_origin(dataclasses.replace(began, from_study="gone"), store)

        start(moved.study, NANO, wanted=began, state="interrupted")
        again = moved_on("old", store)
        assert again is not None
        assert again.is_begun

        start("done", OLDER, wanted=request, state="done")
        done = moved_on("done", store)
        assert done is not None
        assert done.begin(request).bundle_dir == f"/runs/old-emulator-{EMULATOR_VERSION}"  # the bundle there stays
        start(done.study, NANO, wanted=request, state="done")
        with pytest.raises(NuwaError, match="which is another study"):
            moved_on("done", store)
