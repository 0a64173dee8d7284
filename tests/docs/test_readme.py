"""The README's commands run, and what it says about files is true."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nuwa_search.service.cli.commands.search import command as search_command
from nuwa_search.service.cli.main import COMMANDS, cli, run
from tests.support.no_plan import NO_PLAN
from tests.support.toy_base import write_toy_base
from tests.support.toy_images import write_colours

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_kind_of_command_is_covered() -> None:
    kinds = {line.split()[0] for line in shell_lines()}
    assert kinds == {"pip", "make", "nuwa-search", "nuwa", "python"}


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    done = subprocess.run([make, "-n", line.split()[1]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert line.split()[1] in (ROOT / ".ci" / "run").read_text()


def test_the_story_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the block of commands in order, on a toy base where the README means the user's own."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"TRIALS": "3", "FINETUNE_STEPS": "2", "DB": "nuwa.sqlite", "CACHE_DIR": "cache"}.items():
        monkeypatch.setenv(f"NUWA_{name}", value)
    write_toy_base(tmp_path / "my-vit")
    write_colours(tmp_path / "images", ("bus", "train", "tram"))
    for line in shell_lines():
        program, *args = shlex.split(line)
        if program == "nuwa-search" and "--resume" in args:
            args = ["--study", "mine", "--resume"]
        elif program == "nuwa-search" and "--base" in args:
            args += ["--study", "mine", "-o", "runs/demo/bundle"]
        elif program == "nuwa-search":
            args.append("--dry-run")  # read only, not opened: `make demo` runs it for real, in .ci/run
        if program == "nuwa-search" and "--dry-run" in args:
            with monkeypatch.context() as patched:
                patched.setattr("nuwa_search.lab.search.require_demo", lambda *_, **__: None)
                planned = "nuwa_search.search.job.search_plan.plan_search"
                patched.setattr(planned, lambda *_, **__: NO_PLAN)
                assert run(search_command, args, prog_name=program) == 0, capsys.readouterr().err
        elif program == "nuwa-search":
            assert run(search_command, args, prog_name=program) == 0, capsys.readouterr().err
        elif program == "nuwa":
            assert run(cli, args, prog_name=program) == 0, capsys.readouterr().err
            assert "bundle_dir" in capsys.readouterr().out
        elif program == "python":
            photo = next((tmp_path / "images" / "test" / "bus").iterdir())
            shutil.copy(photo, tmp_path / "photo.jpg")
            done = subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_named_files_exist() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_list_of_verbs_is_complete() -> None:
    listed = re.search(r"lists the verbs: `([^`]+)`", README)
    assert listed is not None
    assert set(listed[1].split()) == set(COMMANDS)


def test_the_tree_names_real_places() -> None:
    tree = re.search(r"```text\n(service/.*?)```", README, flags=re.DOTALL)
    assert tree is not None
    parent = ""
    for line in tree[1].splitlines():
        for name in re.findall(r"([a-z_]+/|[a-z_]+\.py)(?=\s|$)", line[:45]):
            if not line.startswith(" "):
                parent = name if name.endswith("/") and os.path.isdir(ROOT / name) else parent  # noqa: PTH112
            place = ROOT / name if (ROOT / name).exists() else ROOT / parent / name
            assert place.exists(), f"{name} under {parent}"
