"""A database, an interrupted study and a bundle that commit 494cfc3 wrote: opened, asked, resumed, derived from.

``store_494cfc3_study.sqlite`` and ``bundle_494cfc3.zip`` were made by that commit on the toy base and images of these
tests: `nuwa-search --budget-ms 1.2 --trials 5 --finetune-steps 4 --study finished`, and
`--trials 8 --seed 3 --study left`, interrupted after four scored subnets. Its folders read ``/tmp/left/…``;
measurements of whole models that no subnet points at were taken out.
"""

import json
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nuwa_search.core.pipeline import FIRST_PIPELINE, PIPELINE_VERSION
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from nuwa_search.store.wanted import SubnetFilter
from tests.support.api_client import client_of
from tests.support.lend_profile import lend_profile
from tests.support.toy_jobs import work_off

DATA = Path(__file__).resolve().parents[1] / "data"
SHIPPED = "7de5e9e52ae999bc"
ONE_IMAGE = 1 / 18
"""Of the search split: another processor may see one image otherwise than the one that scored these."""


@pytest.fixture
def old_db(tmp_path: Path) -> str:
    return str(shutil.copy(DATA / "store_494cfc3_study.sqlite", tmp_path / "nuwa.sqlite"))


@pytest.fixture
def old_bundle(tmp_path: Path) -> Path:
    with zipfile.ZipFile(DATA / "bundle_494cfc3.zip") as packed:
        packed.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_rows_are_marked_by_the_preprocessing_that_scored_them(old_db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["query", "--db", old_db, "--json"], prog_name="nuwa") == 0
    rows = document(capsys)["rows"]
    assert len(rows) == 6
    assert {row["pipeline"] for row in rows} == {FIRST_PIPELINE}
    assert {row["is_current"] for row in rows} == {PIPELINE_VERSION == FIRST_PIPELINE}
    assert run(cli, ["query", "studies", "--db", old_db, "--json"], prog_name="nuwa") == 0
    states = {row["study"]: (row["state"], row["pipeline"]) for row in document(capsys)["rows"]}
    assert states == {"finished": ("done", FIRST_PIPELINE), "left": ("interrupted", FIRST_PIPELINE)}


@pytest.mark.slow
def test_every_subnet_is_cut_again_as_it_was_scored(
    old_db: str, tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(old_db) as store:
        rows = store.subnets.find(SubnetFilter(task_id="f48b80f558e7fcde"))
    trials = [row for row in rows if row["trial_number"] is not None]
    assert len(trials) == 5
    places = ["--base", str(toy_base), "--data", str(toy_images), "--db", old_db, "--cache-dir", str(tmp_path / "c")]
    for row in trials:
        args = ["derive", "--subnet", row["subnet_id"], "-o", str(tmp_path / row["subnet_id"]), "--json", *places]
        assert run(cli, args, prog_name="nuwa") == 0
        answer = document(capsys)
        assert answer["subnet_id"] == row["subnet_id"]
        assert answer["num_images"] == row["num_images"] == 18
        assert answer["top1_search"] == pytest.approx(row["top1"], abs=ONE_IMAGE + 1e-9)
        assert answer["kl_to_teacher"] == pytest.approx(answer["stored"]["kl_to_teacher"], rel=0.02)


@pytest.mark.slow
def test_the_shipped_net_is_cut_again_as_its_bundle_has_it(
    old_db: str,
    old_bundle: Path,
    tmp_path: Path,
    toy_base: Path,
    toy_images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = read_bundle(old_bundle)
    assert bundle.subnet_id == SHIPPED
    assert bundle.preprocess.pipeline == FIRST_PIPELINE
    places = ["--base", str(toy_base), "--data", str(toy_images), "--db", old_db, "--cache-dir", str(tmp_path / "c")]
    args = ["derive", "--subnet", SHIPPED, "-o", str(tmp_path / "d"), "--json", *places]
    assert run(cli, args, prog_name="nuwa") == 0
    answer = document(capsys)
    assert answer["stored"] is None  # 494cfc3 scored what it shipped on the test split only
    assert answer["top1_finetuned"] == {"top1": bundle.facts.top1, "split": "test", "num_images": 30}
    again = read_bundle(tmp_path / "d")
    assert (again.arch, again.labels, again.preprocess) == (bundle.arch, bundle.labels, bundle.preprocess)
    theirs = bundle.load_model().state_dict()
    for name, mine in again.load_model().state_dict().items():  # four steps of fine-tuning, still warming up
        torch.testing.assert_close(mine, theirs[name], rtol=0, atol=2e-3)

    assert run(cli, ["evaluate", str(old_bundle), "--data", str(toy_images), "--json"], prog_name="nuwa") == 0
    found = document(capsys)
    assert (found["top1"], found["num_images"]) == (bundle.facts.top1, 30)


@pytest.mark.slow
def test_a_study_left_by_it_goes_on_over_http_with_its_own_images_and_preprocessing(
    old_db: str,
    tmp_path: Path,
    toy_base: Path,
    toy_images: Path,
    profiled_db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connection = sqlite3.connect(old_db)
    (text, before) = connection.execute(
        "SELECT settings, task_id FROM nuwa_searches s JOIN nuwa_tasks t ON t.pk = s.task_pk WHERE study = 'left'"
    ).fetchone()
    settings = json.loads(text)
    assert settings["base"] == "/tmp/left/base"
    here = {"base": str(toy_base), "data": str(toy_images), "bundle_dir": str(tmp_path / "shipped")}
    with connection:
        connection.execute("UPDATE nuwa_searches SET settings = ? WHERE study = 'left'", (json.dumps(settings | here),))
    connection.close()
    lend_profile(profiled_db, Path(old_db))
    older = ["query", "--device", "jetson-nano@emulator-1", "--db", old_db, "--json"]
    assert run(cli, older, prog_name="nuwa") == 0
    as_it_was = document(capsys)["rows"]
    assert len(as_it_was) == 6
    with open_store(old_db) as store:
        client = client_of(store, Path(tmp_path.anchor))
        response = client.post("/api/v1/searches/left/resume", json={})
        assert (response.status_code, response.json()["study"]) == (202, "left-emulator-2")
        assert response.headers["location"] == "/api/v1/searches/left-emulator-2"
        assert response.json()["settings"]["from_study"] == "left"
        assert client.post("/api/v1/searches/left/resume", json={}).status_code == 409  # it is queued
        assert work_off(store, tmp_path / "c") == 1
        found = client.get("/api/v1/searches/left-emulator-2").json()
        assert (found["state"], found["result"]["trials"]["scored"]) == ("done", 8)
        assert client.get("/api/v1/searches/left").json()["state"] == "interrupted"
        left, record = store.search("left"), store.search("left-emulator-2")
        assert left is not None
        assert record is not None
        assert (left.state, record.state, record.task_id) == ("interrupted", "done", before)
        assert store.load_task(before).source == {"label_column": None, "seed": 3, "split_rule": 1}
        rows = store.subnets.find(SubnetFilter(task_id=before, device="jetson-nano"))
    assert len(rows) >= 8
    assert {row["pipeline"] for row in rows} == {FIRST_PIPELINE}
    assert {row["device_id"] for row in rows} == {record.device_id} != {left.device_id}
    assert run(cli, older, prog_name="nuwa") == 0
    latencies = {row["subnet_id"]: row["predicted_latency_ms"] for row in document(capsys)["rows"]}
    assert latencies == {row["subnet_id"]: row["predicted_latency_ms"] for row in as_it_was}


@pytest.mark.slow
def test_a_study_does_not_go_on_with_another_base(
    old_db: str, tmp_path: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect(old_db)
    with connection:
        (text,) = connection.execute("SELECT settings FROM nuwa_searches WHERE study = 'left'").fetchone()
        settings = json.loads(text) | {"base": "default", "data": str(toy_images), "bundle_dir": str(tmp_path / "b")}
        connection.execute("UPDATE nuwa_searches SET settings = ? WHERE study = 'left'", (json.dumps(settings),))
    connection.close()
    line = ["--study", "left", "--resume", "--db", old_db, "--cache-dir", str(tmp_path / "c"), "--json", "-q"]
    assert run(command, line, prog_name="nuwa-search") == 2
    assert "cuts base 9b2dff7a26ceb5d453af, and 'default' is" in capsys.readouterr().err
    with open_store(old_db) as store:
        record = store.search("left")
        assert record is not None
        assert (record.state, record.base_id) == ("interrupted", "9b2dff7a26ceb5d453af")


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("store_v*.sqlite")))
def test_every_list_of_the_api_answers_for_a_database_of_before(name: str, tmp_path: Path) -> None:
    with open_store(str(shutil.copy(DATA / name, tmp_path / "nuwa.sqlite"))) as store:
        client = client_of(store, tmp_path)
        for noun in ("subnets", "searches", "devices", "bundles", "collaborations", "tasks"):
            assert client.get(f"/api/v1/{noun}").status_code == 200, noun
