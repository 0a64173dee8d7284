"""`nuwa evaluate --device`: the engine itself, over a real SSH server that computes what it was sent."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.proportion import wilson_interval
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.latency.devices import drift, pool
from nuwa_search.latency.touched_bundles import joined_facts, touches
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.records import CertificateRecord
from nuwa_search.store.store import open_store
from tests.support.ssh_board import SshBoard, serve_board, trust_as_user
from tests.support.store_values import BASE, TASK, subnet
from tests.support.toy_base import CLASSES
from tests.support.toy_bundle import write_toy_bundle

INFER, BUILD = "--exportOutput", "--saveEngine"


class Rig:
    """A registered stand-in board, a bundle exported for it, and the command line."""

    def __init__(self, board: SshBoard, folder: Path, images: Path) -> None:
        self.board, self.folder, self.images = board, folder, images
        self.bundle = folder / "bundle"

    def nuwa(self, *args: str) -> int:
        return run(cli, [*args, "--db", str(self.folder / "a.sqlite")], prog_name="nuwa")

    def evaluate(self, *args: str) -> int:
        line = ["evaluate", str(self.bundle), "--device", "lab-nano", "--data", str(self.images), "--json"]
        return self.nuwa(*line, "--cache-dir", str(self.folder / "cache"), *(args or ("--images", "4")))


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory: pytest.TempPathFactory, toy_base: Path, toy_images: Path) -> Iterator[Rig]:
    """One board and one export for the file: an export runs its engine on several images."""
    folder = tmp_path_factory.mktemp("board")
    board = SshBoard(folder / "board")
    board.root.mkdir()
    board.install()
    with serve_board(board), pytest.MonkeyPatch.context() as patch:
        (folder / "home").mkdir()
        patch.setenv("HOME", str(folder / "home"))
        trust_as_user(board)
        rig = Rig(board, folder, toy_images)
        write_toy_bundle(rig.bundle, toy_base, toy_images)
        line = ["device", "add", "lab-nano", "--ssh", f"nano@127.0.0.1:{board.port}", "--runtime", "trtexec"]
        assert rig.nuwa(*line, "--precision", "fp16") == 0
        assert rig.nuwa("export", str(rig.bundle), "--device", "lab-nano", "--budget-ms", "30") == 0
        yield rig


@pytest.fixture
def rig(shared_rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Rig]:
    board = shared_rig.board
    trust_as_user(board)
    for path in (board.root / "faults").iterdir():
        path.unlink()
    board.commands.clear()
    rig = Rig(board, tmp_path, shared_rig.images)
    shutil.copytree(shared_rig.bundle, rig.bundle)
    shutil.copyfile(shared_rig.folder / "a.sqlite", tmp_path / "a.sqlite")
    capsys.readouterr()
    yield rig
    assert board.leftovers() == []


def answered(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    streams = capsys.readouterr()
    found: dict[str, Any] = json.loads(streams.out)
    return found, streams.err


def test_the_engine_itself_is_counted(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.evaluate("--images", "6") == 0
    found, said = answered(capsys)
    assert (found["schema"], found["provenance"], found["device"]["name"]) == (
        "nuwa.evaluate/1",
        "measured",
        "lab-nano",
    )
    assert (found["num_images"], found["split"], found["head"]) == (6, "test", "all")
    assert found["agreement"]["is_met"]
    assert found["agreement"]["min_cosine"] == pytest.approx(1, abs=1e-5)
    assert found["agreement"]["runtime"] == "tensorrt 8.2.1 on lab-nano"
    assert len(found["agreement"]["artifact_sha256"]) == 64
    assert found["top1"] == found["top1_pytorch"]
    assert found["top1_pytorch_interval"] == found["top1_interval"]
    assert found["top1_interval"] == pytest.approx(wilson_interval(round(6 * found["top1"]), 6))
    assert rig.board.num_commands(INFER) == 6
    assert said.index("builds the engine") < said.index("of 6 images") if "of 6 images" in said else "builds" in said
    assert rig.board.kept() == []  # all answers are here


@pytest.mark.parametrize("fault", ["infer-bgr", "infer-endian", "infer-nan"])
def test_what_comes_out_otherwise_than_in_pytorch_fails(
    rig: Rig, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    rig.board.fault(fault)
    assert rig.evaluate() == 1
    found, said = answered(capsys)
    assert not found["agreement"]["is_met"]
    assert "does not agree with PyTorch" in said


def test_the_engine_of_another_model_fails(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """The stand-in computes from the file it received, or here from one of the same shapes: other answers."""
    rig.board.fault("build-other")
    assert rig.evaluate() == 1
    found, _ = answered(capsys)
    assert not found["agreement"]["is_met"]
    assert found["agreement"]["min_cosine"] < 0.999


def test_an_interrupted_run_goes_on_with_the_same_engine(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    # A shell without job control starts its background jobs with interrupts ignored.
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt_after_two() -> None:
        while rig.board.num_commands(INFER) < 3:
            if done.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGINT)

    waiting = threading.Thread(target=interrupt_after_two, daemon=True)
    waiting.start()
    try:
        assert rig.evaluate("--images", "5") == 130
    finally:
        done.set()
        waiting.join()
        signal.signal(signal.SIGINT, before_test)
    assert "every answer that came is kept" in capsys.readouterr().err
    assert len(rig.board.kept()) == 1
    before = rig.board.num_commands(INFER)
    assert rig.evaluate("--images", "5") == 0
    found, said = answered(capsys)
    assert found["num_kept"] >= 2
    assert "from before" in said
    assert rig.board.num_commands(INFER) - before == 5 - found["num_kept"]
    assert rig.board.num_commands(BUILD) == 1
    assert rig.board.kept() == []


def test_classes_restrict_images_and_head(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.evaluate("--images", "4", "--classes", ",".join(CLASSES[:2])) == 0
    found, _ = answered(capsys)
    assert (found["head"], found["classes"], found["num_images"]) == ("restricted", list(CLASSES[:2]), 4)
    assert found["top1"] == found["top1_pytorch"]


def test_host_runs_the_same_question_here(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.nuwa("export", str(rig.bundle), "--device", "host", "-y") == 0
    capsys.readouterr()
    line = ["evaluate", str(rig.bundle), "--device", "host", "--data", str(rig.images), "--images", "500", "--json"]
    assert rig.nuwa(*line) == 0
    on_host, _ = answered(capsys)
    assert rig.nuwa("evaluate", str(rig.bundle), "--data", str(rig.images), "--json") == 0
    weights, _ = answered(capsys)
    same = ("top1", "top1_interval", "num_images", "classes", "head")
    assert [on_host[name] for name in same] == [weights[name] for name in same]
    assert on_host["agreement"]["error_limit"] is not None
    assert rig.board.commands == []


def test_an_emulated_board_is_refused_with_the_reason(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["evaluate", str(rig.bundle), "--data", str(rig.images)]
    assert rig.nuwa(*line, "--device", "jetson-nano") == 2
    assert "is emulated" in capsys.readouterr().err
    assert rig.nuwa(*line, "--images", "3") == 2
    assert "--device" in capsys.readouterr().err


def test_verify_and_certificate_speak_of_the_engine_that_was_timed(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = read_bundle(rig.bundle).certificate
    assert certificate is not None
    assert certificate.measurement is not None
    (of_engine,) = [a for a in certificate.agreements if a.artifact_sha256]
    assert of_engine.artifact_sha256 == certificate.measurement.state["engine_sha256"]
    assert rig.nuwa("verify", str(rig.bundle), "--device", "lab-nano", "--json") == 0
    found, _ = answered(capsys)
    (of_engine_now,) = [a for a in found["agreement"] if a["artifact_sha256"]]
    assert of_engine_now["is_met"]
    assert rig.board.num_commands(BUILD) == 1
    rig.board.fault("infer-bgr")
    assert rig.nuwa("verify", str(rig.bundle), "--device", "lab-nano", "--json") == 1
    found, said = answered(capsys)
    assert "on lab-nano disagrees with PyTorch" in said
    assert not found["is_good"]


def test_a_budget_for_sustained_load_is_held_against_the_level_after_ten_minutes(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in is a third slower after five minutes of its own clock: cool it keeps the budget, warm not."""
    cool = read_bundle(rig.bundle).certificate
    assert cool is not None
    assert cool.measurement is not None
    assert cool.measurement.latency_ms.sustained is None
    budget_ms = 1.1 * cool.measurement.latency_ms.median
    rig.board.fault("heats")
    # The command line reads the heat of the machine that plays the board, which is warm from other tests.
    monkeypatch.setattr("nuwa_search.latency.devices.ssh.wait_until_cool", lambda *_, **__: 35.0)
    line = ["export", str(rig.bundle), "--device", "lab-nano", "--budget-ms", f"{budget_ms:.4f}", "--json"]
    assert rig.nuwa(*line, "--budget-statistic", "sustained") == 1
    assert "latency (sustained)" in capsys.readouterr().err
    warm = read_bundle(rig.bundle).certificate
    assert warm is not None
    assert warm.measurement is not None
    stats = warm.measurement.latency_ms
    assert stats.sustained is not None
    assert stats.median < budget_ms < stats.sustained
    assert stats.sustained == pytest.approx(4 / 3 * stats.median, rel=0.01)
    assert warm.measurement.state["cooldown_s"] == "35"
    assert any(warning.startswith("throttled") for warning in warm.measurement.warnings)
    for verb in (["export", str(rig.bundle), "-y"], ["measure", str(rig.bundle)]):
        asked = ["--budget-statistic", "sustained"] if verb[0] == "export" else ["--sustained", "10m"]
        assert rig.nuwa(*verb, "--device", "jetson-nano", *asked) == 2
        assert "does not grow warm" in capsys.readouterr().err.replace("\n", " ")


def test_all_bundles_against_a_board_after_its_update(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(str(rig.folder / "a.sqlite")) as store:
        (board,) = [record.spec for record in store.devices() if record.spec.name == "lab-nano"]
        store.record_base(BASE)
        store.record_task(TASK)
        store.record_subnets([subnet(0), subnet(1)])
        for name, path in (("subnet-0", rig.bundle), ("subnet-1", rig.folder / "gone")):
            at = str(path / "certificate.json")
            store.record_certificate(CertificateRecord(name, board.device_id, 30.0, "met", {}, path=at))
    line = ["verify", "--all", "--device", "lab-nano", "--json"]
    assert rig.nuwa(*line) == 0
    found, _ = answered(capsys)
    actions = {Path(row["dir"]).name: row["action"] for row in found["rows"]}
    assert (actions, found["num_rebuild"]) == ({"bundle": "none", "gone": "missing"}, 0)
    rig.board.set_file("etc/nv_tegra_release", "# R32 (release), REVISION: 7.6, BOARD: t210ref\n")
    rig.board.version = "8.5.2"
    try:
        assert rig.nuwa(*line) == 1
        found, said = answered(capsys)
        assert rig.nuwa("verify", str(rig.folder), *line[1:]) == 1  # the same of a folder that no database knows
        below, _ = answered(capsys)
    finally:
        rig.board.version = "8.2.1"
    row = next(row for row in found["rows"] if row["action"] != "missing")
    assert (row["action"], row["changes"][0], found["num_rebuild"]) == ("rebuild", "runtime_version 8.2.1 -> 8.5.2", 1)
    assert [other["changes"] for other in below["rows"]] == [row["changes"]]
    assert "1 of 2 bundles for lab-nano have to be built again" in said
    assert rig.board.num_commands(BUILD) == 0
    assert rig.nuwa("verify", str(rig.folder), "--all", "--device", "jetson-nano", "--json") == 0
    assert answered(capsys)[0]["count"] == 0
    for wrong in (["verify"], ["verify", "--all"], ["verify", str(rig.folder / "gone"), "--all", "--device", "host"]):
        assert rig.nuwa(*wrong) == 2


def test_bundle_of_a_pool_of_boards_is_certified_and_verified_there(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool over SSH: engines are built, run and deleted on the board that is lent, and `--all` asks each board."""
    monkeypatch.setattr(drift, "REPEATS", 1)
    monkeypatch.setattr(pool, "REPEATS", 1)  # the stand-in's times hardly differ
    assert rig.nuwa("device", "add", "lab", "--board", "lab-nano") == 0
    assert rig.nuwa("export", str(rig.bundle), "--device", "lab", "--budget-ms", "30", "-y") == 0
    capsys.readouterr()
    assert rig.nuwa("verify", str(rig.bundle), "--device", "lab", "--json") == 0
    found, _ = answered(capsys)
    assert (found["is_good"], found["verdict_now"], found["provenance"]) == (True, "met", "measured")
    with open_store(str(rig.folder / "a.sqlite")) as store:  # of the export, of the check, and of each reference net
        assert store.boards("lab")[0].num_leases >= 3
    everything = ["verify", str(rig.folder), "--all", "--device", "lab", "--json"]
    assert rig.nuwa(*everything) == 0
    found, _ = answered(capsys)
    assert [row["action"] for row in found["rows"]] == ["none"]
    assert (found["now"]["runtime_version"], found["silent"]) == ("8.2.1", {})
    rig.board.version = "8.5.2"
    try:
        assert rig.nuwa(*everything) == 1
    finally:
        rig.board.version = "8.2.1"
    found, _ = answered(capsys)
    assert found["rows"][0]["changes"][0] == "runtime_version 8.2.1 -> 8.5.2"
    with open_store(str(rig.folder / "a.sqlite")) as store:
        lease = store.lease_board("lab", party="a party")
        assert lease is not None  # every lease was given back
        store.put_out(lease, "unplugged")
    assert rig.nuwa(*everything) == 3
    assert "no board of lab answers: lab-nano: unplugged" in capsys.readouterr().err


def test_facts_that_boards_differ_in_are_told_with_the_boards() -> None:
    same, other = {"l4t": "R32.7.1", "power_mode": "MAXN"}, {"l4t": "R32.7.6", "power_mode": "MAXN"}
    now = joined_facts({"n1": same, "n2": other, "n3": same})
    assert now == {"l4t": "R32.7.1 (n1, n3), R32.7.6 (n2)", "power_mode": "MAXN"}
    assert touches(same, now, has_engine=True) == ((), ("l4t R32.7.1 -> R32.7.1 (n1, n3), R32.7.6 (n2)",))


def test_what_touches_an_engine_and_what_only_its_speed() -> None:
    then = {"runtime_version": "8.2.1", "chip": "tegra210", "l4t": "R32.7.1", "power_mode": "MAXN"}
    assert touches(then, then, has_engine=True) == ((), ())
    assert touches(then, {**then, "l4t": "R32.7.6"}, has_engine=True) == ((), ("l4t R32.7.1 -> R32.7.6",))
    assert touches(then, {"power_mode": "5W"}, has_engine=True) == ((), ("power_mode MAXN -> 5W",))
    now = {**then, "runtime_version": "8.5.2"}
    assert touches(then, now, has_engine=True) == (("runtime_version 8.2.1 -> 8.5.2",), ())
    assert touches(then, now, has_engine=False) == ((), ("runtime_version 8.2.1 -> 8.5.2",))  # host loads ONNX itself
