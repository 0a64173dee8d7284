"""Predictors and studies of another emulator are refused, with what to do."""

import dataclasses
from pathlib import Path

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.service.workflow.same_device import require_predictor_of, require_study_of
from nuwa_search.store.records import PredictorRecord
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
                device_id=spec.device_id,
                budget_ms=5.0,
                seed=0,
                settings={},
                base_id=BASE.base_id,
                task_id=TASK.task_id,
                resume=False,
            )
            store.finish_search(claim, "interrupted")
        require_study_of(NANO, "new", store)
        require_study_of(NANO, "not there", store)
        with pytest.raises(NuwaError, match="jetson-nano@emulator-1") as error:
            require_study_of(NANO, "old", store)
    assert "nuwa profile jetson-nano" in error.value.hint
