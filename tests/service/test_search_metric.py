"""Balanced accuracy as a search's metric: a thousand good parts and ten cracked ones must not reward "good"."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from nuwa_search.core.base import load_base
from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.logits import logits_of
from nuwa_search.core.metric import Metric
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import task_tensors
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.toy_parts import write_parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts") / "parts")


def test_a_head_for_balanced_accuracy_finds_what_the_other_never_does(toy_base: Path, parts: Path) -> None:
    base = load_base(str(toy_base))
    task = open_task(base, data=str(parts), label_column=None, classes=None, seed=0)
    tensors = task_tensors(task, base.preprocess)

    def recall(metric: Metric) -> tuple[float | None, ...]:
        model = task_base(base, task, dataclasses.replace(tensors, metric=metric)).model
        return class_scores(logits_of(model, tensors.search.images, base.preprocess), tensors.search.labels).recall

    assert task.class_names == ("cracked", "good")
    assert recall("top1") == (0.0, 1.0)  # 99 % right, and of no use
    cracked, good = recall("balanced")
    assert cracked == 1.0
    assert good is not None
    assert 0.5 < good < 1


def test_a_search_ships_by_the_metric_that_it_was_given(
    tmp_path: Path,
    toy_base: Path,
    parts: Path,
    profiled_db: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nuwa_search.search.job.library.library_archs", lambda _: [])
    shutil.copy(profiled_db, tmp_path / "nuwa.sqlite")
    place = ["--db", str(tmp_path / "nuwa.sqlite"), "--cache-dir", str(tmp_path / "cache")]
    asked = ["--base", str(toy_base), "--data", str(parts), "--budget-ms", "9", "--study", "cracks", *place]
    more = ["--metric", "balanced", "--trials", "1", "--finetune-steps", "2", "--no-deploy", "--json"]
    assert run(command, [*asked, *more, "-o", str(tmp_path / "bundle")], prog_name="nuwa-search") == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["metric"] == "balanced"
    for part in (answer["base"], answer["subnet"]):
        assert part["recall"]["cracked"] == 1.0
        assert part["balanced_accuracy"] > 0.7
    assert "images) balanced on the search split" in captured.err
    assert read_bundle(tmp_path / "bundle").facts.metric == "balanced"
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        task = store.load_task(store.load_subnet(answer["subnet"]["subnet_id"]).task_id)
    assert task.source["metric"] == "balanced"

    # It is cut again under its metric, and another metric is another study.
    again = ["derive", "--subnet", answer["subnet"]["subnet_id"], *place, "-o", str(tmp_path / "again"), "--json"]
    assert run(cli, again, prog_name="nuwa") == 0
    assert json.loads(capsys.readouterr().out)["is_same"]
    assert run(command, [*asked, "--metric", "top1", "--resume"], prog_name="nuwa-search") == 2
    assert "started with --metric balanced, not with --metric top1" in capsys.readouterr().err
