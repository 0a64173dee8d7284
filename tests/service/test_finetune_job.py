"""Fine-tuning a bundle from the command line: killed and resumed, facts kept, two processes."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nuwa_search.core.budget import Budget
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.bundle_facts import BundleFacts, CertifiedBudget
from nuwa_search.deploy.file_hashes import hash_folder
from nuwa_search.deploy.train.finetune_request import FinetuneRequest, resumed_request, save_request
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_bundle import write_toy_bundle

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from nuwa_search.service.cli.main import main; main()"]
STEPS = 110  # evaluations, and with them checkpoints, at 50, 100 and 110


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sum in the same order here as in the other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def bundle_dir(tmp_path: Path, toy_base: Path, toy_images: Path) -> Path:
    return write_toy_bundle(tmp_path / "bundle", toy_base, toy_images).dir


def nuwa(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    code = run(cli, [*args, "--json"], prog_name="nuwa")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def wait_for(folder: Path, name: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not list(folder.rglob(name)):
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_in_the_middle_and_resumed_equals_the_unbroken_run(
    bundle_dir: Path, tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = ["--db", str(tmp_path / "a.sqlite")]
    nuwa(capsys, "export", str(bundle_dir), "--device", "jetson-nano", "--budget-ms", "50", *db)
    whole_dir = shutil.copytree(bundle_dir, tmp_path / "whole")
    before = hash_folder(bundle_dir)
    asked = ["--base", str(toy_base), "--data", str(toy_images), "--finetune-steps", str(STEPS), "--seed", "3"]
    asked += ["--teacher", "tuned"]  # the base itself could teach a copy of itself nothing
    cache = ["--cache-dir", str(tmp_path / "cache")]

    process = subprocess.Popen([*PROGRAM, "finetune", str(bundle_dir), *asked, *cache, "-q"], env=environment())
    wait_for(tmp_path / "cache" / "finetune", "state.json", process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert hash_folder(bundle_dir) == before

    resumed = nuwa(capsys, "finetune", str(bundle_dir), "--resume", *cache)  # no data, no steps: it knows
    shutil.copytree(tmp_path / "cache" / "teacher", tmp_path / "other" / "teacher")
    whole = nuwa(capsys, "finetune", str(whole_dir), *asked, "--cache-dir", str(tmp_path / "other"))
    assert resumed["resumed_from"] in (50, 100)
    assert whole["resumed_from"] is None
    told = ("weights", "steps", "top1_search", "top1_search_before")
    assert {k: resumed[k] for k in told} == {k: whole[k] for k in told}
    assert resumed["top1_search"] > resumed["top1_search_before"]  # else both would be the weights of before
    assert (bundle_dir / "model.safetensors").read_bytes() == (whole_dir / "model.safetensors").read_bytes()
    assert list((tmp_path / "cache" / "finetune").iterdir()) == []

    # what was known before is known after, and the next export takes it over
    bundle = read_bundle(bundle_dir)
    assert bundle.certificate is None
    assert bundle.facts.budget == CertifiedBudget("jetson-nano", Budget(50.0))
    assert [one.top1_search for one in bundle.facts.finetunes] == [whole["top1_search"]]
    answer = nuwa(capsys, "export", str(bundle_dir), "--device", "jetson-nano", *db)
    assert answer["verdict"] == "met (emulated)"
    certificate = json.loads((bundle_dir / "certificate.json").read_text())
    assert certificate["budget_ms"] == 50.0
    assert certificate["facts"]["finetunes"][0]["steps"] == STEPS
    assert "budget" not in certificate["facts"]
    assert nuwa(capsys, "verify", str(bundle_dir), "--device", "host", *db)["is_good"]

    assert run(cli, ["finetune", str(bundle_dir), "--resume", *cache], prog_name="nuwa") == 2
    assert "nothing to resume" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_settings(tmp_path: Path) -> None:
    note, began = tmp_path / "note.json", FinetuneRequest("default", data="images", steps=7, seed=1)
    save_request(note, began)
    asked = FinetuneRequest("default", data="others")
    assert resumed_request(note, asked, named=(), folder=tmp_path) == began
    with pytest.raises(NuwaError, match="started with data images, found others"):
        resumed_request(note, asked, named={"data"}, folder=tmp_path)
    note.write_text("{")
    with pytest.raises(NuwaError, match="cannot be read"):
        resumed_request(note, asked, named=(), folder=tmp_path)


def test_accuracies_of_the_old_weights_are_not_claimed_for_the_new(
    bundle_dir: Path, tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nuwa_search.deploy.write_bundle import parts_from_bundle, write_bundle

    parts = parts_from_bundle(read_bundle(bundle_dir))
    facts = BundleFacts(study="mine", top1=0.9, split="test", subnet_id="abc")
    write_bundle(bundle_dir, dataclasses.replace(parts, facts=facts), replace=True)
    asked = ["--base", str(toy_base), "--data", str(toy_images), "--cache-dir", str(tmp_path / "c")]
    nuwa(capsys, "finetune", str(bundle_dir), *asked, "--finetune-steps", "3", "--teacher", "tuned")
    # base and images of the first time are the bundle's own by now
    nuwa(capsys, "finetune", str(bundle_dir), *asked[4:], "--finetune-steps", "3", "--teacher", "tuned")
    more = ["--relation-scale", "0.5", "--accumulate", "2"]
    nuwa(capsys, "finetune", str(bundle_dir), *asked[4:], "--finetune-steps", "3", *more)
    known = read_bundle(bundle_dir).facts
    assert known.top1 is None
    assert (known.top1_before_finetune, known.study, known.subnet_id) == (0.9, "mine", "abc")
    assert [one.teacher for one in known.finetunes] == ["tuned", "tuned", "base"]
    assert len(list((tmp_path / "c" / "teacher").glob("tuned-*.safetensors"))) == 1  # made once, used twice


@pytest.mark.slow
def test_two_processes_write_one_bundle_like_one_process_does(
    bundle_dir: Path, tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone_dir = shutil.copytree(bundle_dir, tmp_path / "alone")
    asked = ["--base", str(toy_base), "--data", str(toy_images), "--finetune-steps", "4"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node=2"]
    line = [*launch, *PROGRAM, "finetune", str(bundle_dir), *asked, "--cache-dir", str(tmp_path / "c"), "--json", "-q"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(done.stdout)  # one answer, from the first process
    one = nuwa(capsys, "finetune", str(alone_dir), *asked, "--cache-dir", str(tmp_path / "d"))
    assert two["top1_search"] == pytest.approx(one["top1_search"], abs=0.06)  # one image of 18
    found, expected = (load_file(folder / "model.safetensors") for folder in (bundle_dir, alone_dir))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=5e-3)
