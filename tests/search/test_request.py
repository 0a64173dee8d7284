"""The list of a search's options: what can be stored, read back, and changed on resume."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.option import options_of
from nuwa_search.search.request import OPTIONS, SearchRequest, dict_from_request, request_from_dict
from nuwa_search.search.resume import FixedOptionError, resumed_request

OLD = json.loads("""{"budget_ms": 5.5, "device": "jetson-nano", "base": "default", "data": null, "label_column": null,
 "classes": ["bus", "train"], "budget_statistic": "p95", "max_memory_mb": null, "trials": 40, "workers": 1,
 "timeout_s": null, "sampler": "auto", "finetune_epochs": null, "finetune_steps": 20, "predictor_id": null, "judge": 1,
 "small_model_steps": null, "pareto": false, "explain": false, "finetune": true, "deploy": true, "seed": 3,
 "bundle_dir": "/home/me/runs/mine"}""")
"""Settings of a study as commit 494cfc3 stores them."""
LATER: dict[str, Any] = {
    "accelerator": "auto",
    "batch": None,
    "executor": "local",
    "ray_address": None,
    "finetune_processes": None,
    "img_size": None,
    "img_sizes": None,
    "metric": "top1",
    "from_study": None,
    "keep": [],
    "more_budgets": [],
    "pool": "auto",
    "task": "auto",
}
"""What that commit did by, without saying so."""


def test_the_list_loads_nothing_heavy() -> None:
    code = (
        "import sys, nuwa_search.search.request, nuwa_search.search.resume;"
        "print({'torch', 'numpy', 'optuna', 'click', 'pydantic', 'fastapi', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_old_settings_are_read_and_written_as_they_were() -> None:
    request = request_from_dict(OLD)
    assert (request.classes, request.budget_statistic, request.seed) == (("bus", "train"), "p95", 3)
    assert json.loads(json.dumps(dict_from_request(request))) == OLD | LATER


def test_settings_left_out_have_their_defaults() -> None:
    assert request_from_dict({"budget_ms": 5}) == SearchRequest(budget_ms=5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget_ms": 5, "colour": "red"}, "stored with colour, which this version does not know"),
        ({"device": "host"}, "stored without budget_ms"),
        ({"budget_ms": "many"}, "--budget-ms: wanted a finite number above 0, found 'many'"),
        ({"budget_ms": True}, "--budget-ms: wanted a finite number above 0"),
        ({"budget_ms": float("nan")}, "--budget-ms: wanted a finite number above 0"),
        ({"budget_ms": 5, "trials": 0}, "--trials: wanted a whole number of at least 1, found 0"),
        ({"budget_ms": 5, "trials": 2.5}, "--trials: wanted a whole number"),
        ({"budget_ms": 5, "trials": None}, "--trials: wanted a whole number"),
        ({"budget_ms": 5, "seed": -1}, "--seed: wanted a whole number of at least 0"),
        ({"budget_ms": 5, "sampler": "magic"}, "--sampler: wanted one of auto, tpe"),
        ({"budget_ms": 5, "classes": "bus"}, "--classes: wanted names of classes"),
        ({"budget_ms": 5, "classes": [1, 2]}, "--classes: wanted names of classes"),
        ({"budget_ms": 5, "finetune": "no"}, "--no-finetune: wanted true or false"),
        ({"budget_ms": 5, "device": 7}, "--device: wanted the name of a device"),
        ({"budget_ms": 5, "base": "mine"}, "--data is missing"),
        ({"budget_ms": 5, "more_budgets": ["8"]}, "further budgets need a device each, found 8"),
        ({"budget_ms": 5, "more_budgets": ["8@"]}, "no device stands behind the @"),
        ({"budget_ms": 5, "more_budgets": ["x@host"]}, "--budget-ms: wanted a number, found 'x'"),
        (
            {"budget_ms": 5, "more_budgets": ["8@jetson-nano"]},
            "two budgets for jetson-nano: 5@jetson-nano and 8@",
        ),
        ({"budget_ms": 5, "more_budgets": "8@host"}, "--budget-ms: wanted budgets as N@DEVICE, found '8@host'"),
        (
            {"budget_ms": 5, "executor": "ray", "workers": 2},
            "--executor ray and --workers were both given: a cluster scores on every core",
        ),
        ({"budget_ms": 5, "executor": "ray", "accelerator": "cuda"}, "nodes of a cluster compute on their cores"),
        ({"budget_ms": 5, "keep": "blocks.0"}, "--keep: wanted globs over names, found 'blocks.0'"),
        ({"budget_ms": 5, "keep": ["a\n"]}, "--keep: wanted globs over names"),
        ({"budget_ms": 5, "keep": ["embed"], "small_model_steps": 9}, "--keep and --small-model were both given"),
    ],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NuwaError) as caught:
        request_from_dict(settings)
    assert message in caught.value.message


OTHERS: dict[str, Any] = {
    "budget_ms": 6.0, "device": "host", "base": "random:vit_tiny_patch16_224", "img_size": (64, 48), "data": "/images",
    "label_column": "kind", "classes": ("bus",), "budget_statistic": "median", "max_memory_mb": 90.0, "trials": 41,
    "workers": 2, "timeout_s": 9.0, "sampler": "tpe", "finetune_epochs": 1.0, "finetune_steps": 21,
    "predictor_id": "abc", "judge": 2, "small_model_steps": 7, "pareto": True,
    "explain": True, "finetune": False, "deploy": False, "seed": 4,
    "bundle_dir": "/elsewhere", "metric": "balanced", "from_study": "another", "keep": ("blocks.0",), "pool": "avg",
    "more_budgets": ("8@jetson-orin-nano",), "task": "segmentation", "accelerator": "cpu", "img_sizes": (16, (64, 32)),
    "batch": 3, "executor": "ray", "ray_address": "head:6379", "finetune_processes": 2,
}  # fmt: skip
"""Another value than OLD's for every option."""


@pytest.mark.parametrize("name", list(OPTIONS))
def test_resumed_each_option_is_obeyed_or_refused_by_name(name: str) -> None:
    assert OTHERS.keys() == OPTIONS.keys()
    stored, option = request_from_dict(OLD), OPTIONS[name]
    same = {name: getattr(stored, name)}
    assert resumed_request(stored, same, study="mine") == stored
    if option.is_resumable:
        resumed = resumed_request(stored, {name: OTHERS[name]}, study="mine")
        assert resumed == dataclasses.replace(stored, **{name: OTHERS[name]})
        return
    with pytest.raises(FixedOptionError) as caught:
        resumed_request(stored, {name: OTHERS[name]}, study="mine")
    assert f"--{option.flag}" in caught.value.message
    assert f"--{option.flag}" in caught.value.hint


def test_what_says_how_long_it_runs_and_on_what_may_change() -> None:
    assert {name for name, option in OPTIONS.items() if option.is_resumable} == {
        *("trials", "workers", "timeout_s", "finetune_epochs", "finetune_steps", "small_model_steps", "explain"),
        *("accelerator", "batch", "executor", "ray_address", "finetune_processes"),
    }


def test_the_predictor_that_the_study_began_with_may_be_named() -> None:
    stored = request_from_dict(OLD)
    assert resumed_request(stored, {"predictor_id": "p1"}, study="mine", predictor_id="p1") == stored
    with pytest.raises(FixedOptionError, match="started with --predictor p1, not with --predictor p2"):
        resumed_request(stored, {"predictor_id": "p2"}, study="mine", predictor_id="p1")


@pytest.mark.parametrize("told", ["64x48", [64, 48], (64, 48)])
def test_a_size_is_one_however_it_is_written(told: object) -> None:
    stored = request_from_dict(OLD | {"img_size": told, "img_sizes": [told, "32", 16, [24, 24]]})
    assert (stored.img_size, stored.img_sizes) == ((64, 48), ((64, 48), 32, 16, 24))
    kept = json.loads(json.dumps(dict_from_request(stored)))
    assert request_from_dict(kept) == stored
    assert resumed_request(stored, {"img_size": told}, study="mine") == stored
    assert dict_from_request(request_from_dict(OLD | {"img_size": [32, 32]}))["img_size"] == 32
    with pytest.raises(FixedOptionError, match="with --img-size 64x48, not with --img-size 48x64"):
        resumed_request(stored, {"img_size": (48, 64)}, study="mine")
    with pytest.raises(FixedOptionError, match="with --img-sizes 64x48,32,16,24, not with --img-sizes 16"):
        resumed_request(stored, {"img_sizes": (16,)}, study="mine")


def test_switches_are_said_as_they_are_typed() -> None:
    with pytest.raises(FixedOptionError, match="started without --no-finetune, not with --no-finetune"):
        resumed_request(request_from_dict(OLD), {"finetune": False}, study="mine")
    with pytest.raises(FixedOptionError, match="started with --no-deploy, not without --no-deploy"):
        resumed_request(request_from_dict(OLD | {"deploy": False}), {"deploy": True}, study="mine")


def test_a_field_that_says_nothing_about_itself_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Silent(SearchRequest):
        colour: str = "red"

    with pytest.raises(TypeError, match="colour"):
        options_of(Silent)
