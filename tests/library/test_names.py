"""The library's names: lazy, typed, described, and one list with the verbs of the command line."""

import ast
import inspect
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import click
import pytest

import nuwa_search
from nuwa_search.lab import keywords
from nuwa_search.lab.collaborate import BoardKeywords, _running
from nuwa_search.lab.lab import Lab
from nuwa_search.search.request import OPTIONS
from nuwa_search.service.cli.flags import COMMON
from nuwa_search.service.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
NO_METHODS = {
    "base",
    "collaborate",
    "cache",
    "completion",
    "config",
    "db",
    "device",
    "doctor",
    "env",
    "serve",
    "worker",
}
"""Nouns with verbs of their own, and what keeps house or runs until it is stopped: no calls that answer."""
ELSEWHERE = {
    "all": "verify_all",
    "cache-dir": "open",
    "head": "whole_head",
    "kit": "write_kit",
    "sustained": "measure_sustained",
    "from": "from_",
    "import": "import_",
    "max-loss": "max_loss",
    "input": "input_kind",
    "predictor": "predictor",
    "log-to": "track",
    "public": "is_public",
}
"""Flags whose meaning has another place in the library, because it answers otherwise or the word is Python's."""
RENAMED = {
    "finetune": {"finetune-steps": "steps", "finetune-epochs": "epochs"},
    "predict": {"network": "predict_collaboration"},
}
NOT_NEEDED = {"profile": {"resume"}}
"""Flags that say nothing any more: a profile always goes on where it was."""


def test_importing_loads_nothing_heavy() -> None:
    program = "import sys, nuwa_search; dir(nuwa_search); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"torch", "timm", "pandas", "numpy", "onnx", "onnxruntime", "optuna", "sqlalchemy", "click"}
    assert not heavy & set(done.stdout.split())


def test_the_three_lists_of_names_agree() -> None:
    tree = ast.parse((ROOT / "nuwa_search" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == nuwa_search._HOMES
    assert {*typed, "__version__"} == set(nuwa_search.__all__)
    assert nuwa_search.__all__ == sorted(nuwa_search.__all__)
    for name in nuwa_search.__all__:
        assert getattr(nuwa_search, name) is getattr(nuwa_search, name)
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        _ = nuwa_search.serch


def test_every_name_and_verb_is_described() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    missing = [name for name in nuwa_search.__all__ if f"`{name}" not in page and f"nuwa_search.{name}" not in page]
    missing += [name for name in dir(Lab) if not name.startswith("_") and f"lab.{name}" not in page]
    assert missing == []


def test_keywords_are_made_from_the_requests() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_keywords.py"))
    written = (ROOT / "nuwa_search" / "lab" / "keywords.py").read_text()
    assert written == script["make_keywords"](), "run: python docs/make_keywords.py"


@pytest.mark.parametrize("verb", sorted(set(COMMANDS) - NO_METHODS))
def test_a_verb_takes_in_the_library_what_it_takes_on_the_command_line(verb: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    method = getattr(Lab, verb, None) or getattr(nuwa_search, verb)  # of files alone: no database, no lab
    taken = {name for name in inspect.signature(method).parameters if name != "self"}
    taken |= set(get_type_hints(getattr(keywords, f"{verb.capitalize()}Keywords", object)))
    fields = {option.flag: option.client_name for option in OPTIONS.values()} if verb == "search" else {}
    for param in command.params:
        if not isinstance(param, click.Option):
            continue
        flag = param.opts[0].removeprefix("--")
        if flag in (*COMMON, *NOT_NEEDED.get(verb, ())):  # a seed is common too, and some verbs draw nothing
            continue
        name = fields.get(flag) or RENAMED.get(verb, {}).get(flag) or ELSEWHERE.get(flag) or flag.replace("-", "_")
        assert name in taken or hasattr(Lab, name) or hasattr(nuwa_search, name), f"--{flag} of nuwa {verb}"


@pytest.mark.parametrize("verb", ["up", "probe", "run", "bench"])
def test_a_verb_over_boards_takes_in_the_library_what_it_takes_on_the_command_line(verb: str) -> None:
    group = cli.get_command(click.Context(cli), "collaborate")
    assert isinstance(group, click.Group)
    assert set(group.commands) == {"up", "probe", "run", "bench"}
    params = group.commands[verb].params
    flags = {str(param.name) for param in params} - {name.replace("-", "_") for name in COMMON}
    taken = set(inspect.signature(getattr(nuwa_search, f"collaborate_{verb}")).parameters)
    if "use" in taken:
        taken |= set(get_type_hints(BoardKeywords))
    assert flags == taken - {"say", "seed", "output", "use"}


def test_a_mistyped_keyword_over_boards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no 'strat'"), _running(tmp_path, {"strat": True}, say=print):  # type: ignore[typeddict-unknown-key]
        pass
