"""Copies of a database: between both kinds, repeated, cut short, and onto what is not empty."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import pytest
from sqlalchemy import select, text

from nuwa_search.core.counting import counts_to
from nuwa_search.core.errors import NuwaError
from nuwa_search.lab.copying import copy_database
from nuwa_search.store import copying
from nuwa_search.store.copying import count_rows
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import SearchRow
from tests.support.store_values import BASE, NANO, TASK, filled_with_ties


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Subnets on two devices, a search with its events, and Optuna's study of it."""
    path = tmp_path_factory.mktemp("copy") / "source.sqlite"
    with open_store(str(path)) as store:
        filled_with_ties(store)
        terms = SearchTerms(
            device_id=NANO.device_id, budget_ms=5.0, seed=0, base_id=BASE.base_id, task_id=TASK.task_id, settings={}
        )
        claim = store.start_search("study", terms)
        store.add_event("study", "trial", {"number": 0, "state": "scored", "name": "ä"})
        store.finish_search(claim, "done")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        width, share = optuna.distributions.IntDistribution(0, 9), optuna.distributions.FloatDistribution(0, 1)
        with _study(store) as study:
            study.add_trial(
                optuna.trial.create_trial(
                    params={"width": 3, "share": 0.1},
                    distributions={"width": width, "share": share},
                    value=0.25,
                    user_attrs={"why": "seed"},
                )
            )
        yield store


@contextmanager
def _study(store: Store) -> Iterator[optuna.Study]:
    """Open the study as Optuna's own tools do."""
    storage = optuna.storages.RDBStorage(store.url.render_as_string(hide_password=False))
    try:
        yield optuna.create_study(study_name="study", storage=storage, load_if_exists=True)
    finally:
        storage.remove_session()
        storage.engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_copy_answers_as_its_source_and_goes_on(
    kind: str, source: Store, make_url_of_new: Callable[[str], str], tmp_path: Path
) -> None:
    url = make_url_of_new(kind)
    with open_store(url) as target:
        made = copy_database(source, target)
        assert {t.table: t.rows for t in made.tables} == count_rows(source) == count_rows(target)
        assert made.num_added == made.num_rows > 200
        assert target.subnets.find(pareto=True) == source.subnets.find(pareto=True)
        assert target.events("study") == source.events("study")
        assert target.trials("study") == source.trials("study")
        query = select(SearchRow.pk).where(text("result IS NULL"))
        with source.read() as here, target.read() as there:  # NULL stays NULL, and is no JSON null
            assert here.execute(query).all() == there.execute(query).all() != []
        with _study(target) as one, _study(source) as other:
            (trial,), (first,) = one.trials, other.trials
        assert (trial.params, trial.value, trial.user_attrs) == (first.params, first.value, first.user_attrs)
        assert copy_database(source, target).num_added == 0

        with open_store(str(tmp_path / "back.sqlite")) as back:
            copy_database(target, back)
            assert count_rows(back) == count_rows(source)
        number = target.add_event("study", "trial", {})  # rows of its own are numbered behind the copied ones
        assert number == source.events("study")[-1].number + 1
        with _study(target) as one:
            one.add_trial(first)

        with pytest.raises(NuwaError, match="not empty, and not the beginning of this copy: the row of nuwa_events"):
            copy_database(source, target)
        made = copy_database(source, target, replace=True)
        assert made.removed == made.num_rows + 1 + len(first.params) + 3  # the event; a trial, its value and its attr
        assert count_rows(target) == count_rows(source)


def test_a_copy_cut_short_is_completed(source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BATCH_ROWS", 7)
    told: list[tuple[str, int, int | None]] = []

    def stop(label: str, done: int, total: int | None) -> None:
        told.append((label, done, total))
        if done > 100:
            raise KeyboardInterrupt

    with open_store(str(tmp_path / "target.sqlite")) as target:
        with pytest.raises(KeyboardInterrupt), counts_to(stop):
            copy_database(source, target)
        there = sum(count_rows(target).values())
        assert (told[-1][0], told[-1][1]) == ("rows", there)
        made = copy_database(source, target)
        assert made.num_added == made.num_rows - there > 0
        assert count_rows(target) == count_rows(source)
        assert target.subnets.find(pareto=True) == source.subnets.find(pareto=True)


def test_a_database_is_not_copied_onto_itself(source: Store) -> None:
    with open_store(source.command_url) as same, pytest.raises(NuwaError, match="onto itself"):
        copy_database(source, same)


def test_an_upgrade_leaves_the_file_as_it_was_beside_it(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "data" / "store_v3.sqlite"
    path = tmp_path / "nuwa.sqlite"
    path.write_bytes(old.read_bytes())
    (tmp_path / "nuwa.sqlite.0003.bak").write_text("an earlier one")
    with open_store(str(path)) as store:
        copy = store.backup_path
    assert copy == tmp_path / "nuwa.sqlite.0003.2.bak"
    with closing(sqlite3.connect(old)) as one, closing(sqlite3.connect(copy)) as other:
        assert list(one.iterdump()) == list(other.iterdump())
    with open_store(str(path)) as store:
        assert store.backup_path is None
    assert sorted(file.name for file in tmp_path.iterdir() if ".bak" in file.name) == [
        "nuwa.sqlite.0003.2.bak",
        "nuwa.sqlite.0003.bak",
    ]


def test_nothing_is_upgraded_where_no_copy_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nuwa.sqlite"
    path.write_bytes((Path(__file__).parents[1] / "data" / "store_v2.sqlite").read_bytes())

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NuwaError, match="no backup of it can be written") as error:
        open_store(str(path))
    assert error.value.exit_code == 3
    assert [file.name for file in tmp_path.iterdir()] == ["nuwa.sqlite"]
    with closing(sqlite3.connect(path)) as kept:
        assert kept.execute("SELECT version_num FROM nuwa_alembic_version").fetchone() == ("0002",)
