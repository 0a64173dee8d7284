"""What a search does beside its study: a small rival, a time limit, several processes, a library of one's own."""

from typing import Any

import pytest

from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.search import library as library_module
from nuwa_search.search.job import compete
from nuwa_search.search.job import tune as tune_module
from nuwa_search.search.job.tune import Tuned
from nuwa_search.store.store import open_store
from tests.support.toy_search import ToySearch

BUDGET_MS = "1.5"


@pytest.fixture
def search(toy_search: ToySearch) -> ToySearch:
    return toy_search.with_args("--trials", "3", "--budget-ms", BUDGET_MS, "--finetune-steps", "2")


def test_a_small_vit_competes_and_ships_where_it_wins(search: ToySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned_with: list[FinetuneConfig] = []

    def scripted(model: Any, *, config: FinetuneConfig, **_: Any) -> Tuned:
        tuned_with.append(config)
        score = SplitScore(0.5 * len(tuned_with), None, 1.0)  # the second, the rival, is the better
        return Tuned(model, score, None, None)

    monkeypatch.setattr(compete, "tune", scripted)
    answer, told = search.done("--small-model", "2")
    assert len(tuned_with) == 2
    assert tuned_with[0] == tuned_with[1]  # equal steps, images and augmentation
    assert answer["shipped"] == "small-model"
    blocks = answer["subnet"]["arch"]["blocks"]
    assert all(block == blocks[0] for block in blocks)
    assert answer["feasible"]
    assert answer["subnet"]["measured_latency_ms"] <= float(BUDGET_MS)
    assert "2 steps on 72 images of 3 classes" in told
    assert "a uniformly small ViT" not in told
    with open_store(search.db) as store:
        rows = store.subnets.find(limit=None)
    row = next(row for row in rows if row["subnet_id"] == answer["subnet"]["subnet_id"])
    assert row["measured_latency_ms"] == answer["subnet"]["measured_latency_ms"]


def test_a_net_behind_its_base_is_fine_tuned_again(toy_search: ToySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, Any, Tuned]] = []

    def watched(model: Any, *, config: FinetuneConfig, **rest: Any) -> Tuned:
        runs.append((config.seed, model, tune_module.tune(model, config=config, **rest)))
        return runs[-1][2]

    monkeypatch.setattr(compete, "tune", watched)
    monkeypatch.setattr(tune_module, "DEFAULT_STEPS", 2)
    monkeypatch.setattr(tune_module, "LARGE_STEPS", 2)
    monkeypatch.setattr(tune_module, "SECOND_RUN_BELOW", -1.0)  # every net is behind
    search = toy_search.with_args("--trials", "3", "--budget-ms", BUDGET_MS, "--no-deploy")
    search.done("-o", str(search.folder / "small"))
    assert len(runs) == 1  # small images throw no run
    runs.clear()
    monkeypatch.setattr(tune_module, "is_small", lambda base: False)
    _, told = search.done("-o", str(search.folder / "large"))
    assert "fine-tuned for as many steps again" in told
    assert [seed for seed, _, _ in runs] == [0, 1]
    assert runs[1][1] is runs[0][2].model  # it goes on from what the first left
    runs.clear()
    search.done("--finetune-steps", "2", "-o", str(search.folder / "other"))  # a length that was asked for is kept
    assert len(runs) == 1


def test_the_time_limit_shortens_fine_tuning(search: ToySearch) -> None:
    more = ["--timeout-s", "0.01", "--finetune-steps", "100", "--no-deploy"]
    answer, told = search.done(*more)
    assert 1 <= answer["trials"]["scored"] <= 3
    assert "the time allows 1 of 100 fine-tuning steps" in told
    assert "single cuts" in told


@pytest.mark.slow
def test_two_processes_score_as_many(search: ToySearch) -> None:
    answer, _ = search.done("--workers", "2", "--no-finetune", "--no-deploy")
    assert answer["trials"]["scored"] == 3


def test_a_library_of_other_images_is_another_library(search: ToySearch, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    from nuwa_search.search.job import library

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return library_module.build_library(*args, **kwargs)

    monkeypatch.setattr(library, "build_library", counted)
    plain = ["--no-finetune", "--no-deploy"]
    search.done(*plain, "-o", str(search.folder / "bundle0"))
    search.done(*plain, "-o", str(search.folder / "bundle1"))
    assert len(made) == 1
    monkeypatch.setattr(library, "NUM_IMAGES", 9)
    search.done(*plain, "-o", str(search.folder / "bundle2"))
    assert len(made) == 2
