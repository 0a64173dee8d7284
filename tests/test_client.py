"""The small distribution: the same files, and what they do where torch, timm, pandas and Optuna are not installed."""

import json
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import nuwa_search
from nuwa_search.core import installed as installed_module
from nuwa_search.deploy.write_bundle import write_bundle
from nuwa_search.service.cli.commands import doctor
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.deploy.bundle_parts import make_parts
from tests.support.store_values import prediction, record_basics, subnet, top1

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"torch", "torchvision", "timm", "pandas", "optuna"}
_PROGRAM = f"""
import sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(LEFT_OUT)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import numpy as np
import nuwa_search
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.api_client import client_of

database, bundle = sys.argv[1:]
assert run(cli, ["query", "--db", database, "--pareto"], prog_name="nuwa") == 0
assert run(cli, ["db", "check", "--db", database], prog_name="nuwa") == 0
assert run(cli, ["measure", bundle, "--device", "jetson-nano", "--db", database], prog_name="nuwa") == 2
with nuwa_search.open(database) as lab:
    assert [row["subnet_id"] for row in lab.query(pareto=True)] == ["subnet-0"]
    client = client_of(lab.store, Path(bundle).parent)
    page = client.get("/")
    assert page.status_code == 200 and "<html" in page.text
    found = client.get("/api/v1/subnets").json()
    assert [row["subnet_id"] for row in found["rows"]] == ["subnet-0"], found
read = nuwa_search.read_bundle(bundle)
answer, = nuwa_search.load(bundle).predict([np.zeros((40, 30, 3), np.uint8)])
assert answer.label in read.labels
"""


def _project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text())
    return found


def test_query_page_and_bundles_need_no_torch(tmp_path: Path) -> None:
    database, bundle = tmp_path / "nuwa.sqlite", write_bundle(tmp_path / "bundle", make_parts())
    with open_store(str(database)) as store:
        record_basics(store)
        store.record_subnets([subnet(0)])
        store.record_scores([top1(0, 0.8)])
        store.record_predicted_latencies([prediction(0, 1.5)])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(database), str(bundle.dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "subnet-0" in done.stdout
    assert "error: this command needs the package " in done.stderr


def test_the_small_distribution_is_the_same_program_with_fewer_requirements() -> None:
    full, small = _project(ROOT / "pyproject.toml"), _project(ROOT / "client" / "pyproject.toml")
    assert full["project"]["version"] == small["project"]["version"] == nuwa_search.__version__
    needed = {*full["project"]["dependencies"], *full["project"]["optional-dependencies"]["serve"]}
    assert set(small["project"]["dependencies"]) < needed
    names = {line.partition(">")[0] for line in needed - set(small["project"]["dependencies"])}
    assert names == LEFT_OUT
    assert (ROOT / "client" / "nuwa_search").readlink() == Path("..") / "nuwa_search"
    assert small["tool"]["setuptools"]["packages"] == full["tool"]["setuptools"]["packages"]


def test_what_the_small_distribution_goes_without_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(doctor.NOT_OF_CLIENT) < LEFT_OUT
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in LEFT_OUT else find_spec(name))
    line = ["doctor", "--json", "--db", str(tmp_path / "a.sqlite"), "--cache-dir", str(tmp_path)]
    for installed, faults in (("nuwa-search-client", set()), ("nuwa-search", {"torch", "timm", "optuna"})):
        monkeypatch.setattr(installed_module, "installed_version", {installed: "0.2.0"}.get)
        run(cli, line, prog_name="nuwa")
        found = json.loads(capsys.readouterr().out)["findings"]
        assert {row["check"] for row in found if not row["ok"]} & LEFT_OUT == faults
