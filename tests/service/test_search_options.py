"""One list of a search's options: flags, API, form and docs are made from it, and resume follows it everywhere."""

import dataclasses
import json
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import click
import pytest
from fastapi.testclient import TestClient

from nuwa_search.search.option import Option, options_of
from nuwa_search.search.request import OPTIONS, SearchRequest, dict_from_request
from nuwa_search.service.api.form_view import form_fields
from nuwa_search.service.api.request_model import model_from_options
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.flags import flag_from_option
from nuwa_search.service.cli.main import run
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of
from tests.support.no_plan import NO_PLAN
from tests.support.page_store import seed_page_store

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True)
class Wider(SearchRequest):
    tint: Annotated[str | None, Option("text", "Colour of images.", "WORD", is_resumable=True)] = None


def test_one_more_field_is_one_more_option_everywhere() -> None:
    options = options_of(Wider)
    flag = flag_from_option(options["tint"])
    assert (flag.name, flag.help, flag.metavar) == ("tint", "Colour of images.", "WORD")
    body = model_from_options("Wider", options, doc="", is_change=False)
    assert body.model_validate({"budget_ms": 5, "tint": "red"}).model_dump()["tint"] == "red"
    change = model_from_options("WiderChanges", options, doc="", is_change=True)
    assert change.model_validate({"tint": "red"}).model_dump(exclude_none=True) == {"tint": "red"}
    (field,) = [f for f in form_fields(options, choices={}, hints={}) if f["name"] == "tint"]
    assert (field["label"], field["kind"], field["hint"]) == ("tint", "text", "Colour of images")
    table = runpy.run_path(str(DOCS / "make_options.py"))["make_options"](options)
    assert "| `--tint` | `tint` | Colour of images. |" in table
    assert dict_from_request(Wider(budget_ms=5.0, tint="red"))["tint"] == "red"


def test_what_clients_may_not_set_they_are_not_offered() -> None:
    options = {name: dataclasses.replace(option, is_for_clients=name != "seed") for name, option in OPTIONS.items()}
    assert "seed" not in model_from_options("Narrow", options, doc="", is_change=False).model_fields
    assert "seed" not in {field["name"] for field in form_fields(options, choices={}, hints={})}


def test_flags_api_and_form_know_the_same_options(client: TestClient) -> None:
    flags = {max(param.opts, key=len).removeprefix("--") for param in command.params if isinstance(param, click.Option)}
    assert {option.flag for option in OPTIONS.values()} <= flags
    schemas = client.get("/api/v1/openapi.json").json()["components"]["schemas"]
    names = {option.client_name for option in OPTIONS.values() if option.is_for_clients}
    assert {option.client_name for option in OPTIONS.values()} - names == {"executor", "ray_address"}
    assert set(schemas["NewSearch"]["properties"]) == names | {"study"}
    assert schemas["NewSearch"]["required"] == ["budget_ms"]
    assert set(schemas["SearchChanges"]["properties"]) == names
    assert "required" not in schemas["SearchChanges"]
    options = client.get("/api/v1/options").json()
    assert {field["name"] for field in options["fields"]} == names | {"study"}
    assert options["defaults"].keys() == names - {"budget_ms", "output"}
    assert [field["name"] for field in options["fields"] if field["is_needed"]] == ["budget_ms"]
    (device,) = [field for field in options["fields"] if field["name"] == "device"]
    assert "jetson-nano" in {choice["value"] for choice in device["choices"]}


# Started by a command line of long ago, interrupted.
STORED = {
    "budget_ms": 5.5,
    "base": "default",
    "classes": ["bus", "train"],
    "trials": 40,
    "finetune_steps": 20,
    "seed": 3,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        seed_page_store(opened, tmp_path, num_subnets=3)
        (device_id,) = {record.spec.device_id for record in opened.devices()}
        settings = STORED | {"bundle_dir": str(tmp_path.resolve() / "mine")}
        search = opened.start_search("mine", SearchTerms(device_id=device_id, budget_ms=5.5, seed=3, settings=settings))
        opened.finish_search(search, "interrupted")
        yield opened


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    return client_of(store, tmp_path)


@pytest.fixture
def resume(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Resume":
    monkeypatch.setattr("nuwa_search.search.job.search_plan.plan_search", lambda *_args, **_more: NO_PLAN)
    monkeypatch.chdir(tmp_path)
    return Resume(capsys)


class Resume:
    """The command that goes on with the stored study, up to where the work would begin."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: str, code: int = 0) -> tuple[dict[str, Any], str]:
        line = ["--study", "mine", "--resume", "--dry-run", "--json", "--db", "nuwa.sqlite", *args]
        found = run(command, line, prog_name="nuwa-search")
        captured = self.capsys.readouterr()
        assert found == code, captured.err
        return json.loads(captured.out or "{}"), captured.err


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (["--no-finetune"], "--no-finetune"),
        (["--no-deploy"], "--no-deploy"),
        (["--predictor", "p1"], "--predictor"),
        (["-o", "elsewhere"], "--output"),
        (["--budget-ms", "9"], "--budget-ms"),
        (["--device", "host"], "--device"),
        (["--base", "mine", "--data", "there"], "--base"),
        (["--data", "there"], "--data"),
        (["--label-column", "kind"], "--label-column"),
        (["--classes", "bus"], "--classes"),
        (["--budget-statistic", "p99"], "--budget-statistic"),
        (["--max-memory-mb", "9"], "--max-memory-mb"),
        (["--sampler", "tpe"], "--sampler"),
        (["--judge", "2"], "--judge"),
        (["--pareto"], "--pareto"),
        (["--keep", "blocks.0"], "--keep"),
        (["--seed", "4"], "--seed"),
    ],
)
def test_a_flag_that_cannot_change_is_refused_by_name(resume: Resume, args: list[str], flag: str) -> None:
    out, err = resume(*args, code=2)
    assert out == {}
    assert err.startswith("error: study 'mine' was started with")
    assert f"{flag} " in err or f"{flag}\n" in err
    assert f"leave {flag} out to resume" in err


def test_a_flag_that_may_change_is_obeyed_and_equal_ones_pass(resume: Resume, tmp_path: Path) -> None:
    same = ["--budget-ms", "5.5", "--classes", "bus,train", "--seed", "3", "--device", "jetson-nano", "-o", "mine"]
    plan, _ = resume(*same, "--trials", "41", "--timeout-s", "60", "--workers", "2", "--small-model", "7", "--explain")
    assert (plan["trials"], plan["timeout_s"], plan["workers"]) == (41, 60, 2)
    assert (plan["small_model_steps"], plan["explain"], plan["finetune_steps"]) == (7, True, 20)
    assert (plan["budget_ms"], plan["bundle_dir"]) == (5.5, str(tmp_path.resolve() / "mine"))


def test_settings_of_files_are_for_new_searches_and_that_is_said(
    resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nuwa.toml").write_text("trials = 7\nno-finetune = true\nseed = 3\n")
    monkeypatch.setenv("NUWA_DEVICE", "host")
    plan, err = resume()
    assert (plan["trials"], plan["finetune"], plan["device"], plan["seed"]) == (40, True, "jetson-nano", 3)
    lines = err.splitlines()
    assert "--device host of the environment is not followed: the study goes on with --device jetson-nano" in lines
    trials = (
        "--trials 7 of a settings file is not followed: the study goes on with --trials 40; to change it, give --trials"
    )
    assert trials in lines
    assert "--no-finetune of a settings file is not followed: the study goes on without --no-finetune" in lines
    assert len(lines) == 3  # the seed is the study's


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"finetune": False}, "finetune"),
        ({"deploy": False}, "deploy"),
        ({"output": "elsewhere"}, "output"),
        ({"budget_ms": 9}, "budget_ms"),
        ({"device": "host"}, "device"),
        ({"classes": ["train", "bus"]}, "classes"),
        ({"seed": 4, "trials": 41}, "seed"),
        ({"device": "jetson-nona"}, "device"),
        ({"more_budgets": ["8@host"]}, "more_budgets"),
        ({"more_budgets": ["8@jetson-nona"]}, "more_budgets"),
        ({"more_budgets": ["8"]}, "more_budgets"),
        ({"keep": ["blocks.0"]}, "keep"),
        ({"output": "../outside"}, "output"),
        ({"trials": 0}, "trials"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_client_is_refused_by_name(client: TestClient, store: Store, change: dict[str, Any], where: str) -> None:
    response = client.post("/api/v1/searches/mine/resume", json=change)
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == f"body.{where}"
    assert store.jobs() == ()


def test_a_client_changes_what_may_change_and_repeats_the_rest(client: TestClient, store: Store) -> None:
    same = {"budget_ms": 5.5, "classes": ["bus", "train"], "seed": 3, "output": "mine", "finetune": True, "data": None}
    response = client.post("/api/v1/searches/mine/resume", json=same | {"trials": 41, "workers": 2, "timeout_s": None})
    assert response.status_code == 202
    asked = store.jobs(study="mine")[0].settings["request"]
    assert (asked["trials"], asked["workers"], asked["timeout_s"], asked["finetune_steps"]) == (41, 2, None, 20)


def test_settings_of_a_later_version_are_named(client: TestClient, store: Store, resume: Resume) -> None:
    (device_id,) = {record.spec.device_id for record in store.devices()}
    later = STORED | {"bundle_dir": "b", "colour": "red"}
    search = store.start_search("later", SearchTerms(device_id=device_id, budget_ms=5.5, seed=3, settings=later))
    store.finish_search(search, "interrupted")
    _, err = resume("--study", "later", code=2)
    assert "stored with colour, which this version does not know" in err
    response = client.post("/api/v1/searches/later/resume")
    assert response.status_code == 409
    assert "colour" in response.json()["detail"]
