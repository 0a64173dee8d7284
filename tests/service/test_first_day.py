"""The first day with a board: what its profile says before it goes on, and that nothing is built or measured twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.latency.devices.registry import device_spec
from nuwa_search.latency.devices.siblings import emulated_sibling
from nuwa_search.predictors.first_day import ProfileCost, ProfileRest
from nuwa_search.service.cli.main import cli, run
from tests.support.ssh_board import SshBoard, serve_board, trust_as_user

BUILD = "--saveEngine"


class Rig:
    """A stand-in whose clock says four minutes for every engine, registered as `lab-nano`."""

    def __init__(self, board: SshBoard, folder: Path, base: Path) -> None:
        self.board, self.folder, self.base = board, folder, base

    def nuwa(self, *args: str) -> int:
        return run(cli, [*args, "--db", str(self.folder / "a.sqlite")], prog_name="nuwa")

    def profile(self, *args: str) -> int:
        return self.nuwa("profile", "lab-nano", "--base", str(self.base), *args)


@pytest.fixture
def rig(tmp_path: Path, toy_base: Path, profiled_db: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Rig]:
    board = SshBoard(tmp_path / "board", build_s=240)
    board.root.mkdir()
    board.install()
    shutil.copyfile(profiled_db, tmp_path / "a.sqlite")
    with serve_board(board):
        trust_as_user(board)
        rig = Rig(board, tmp_path, toy_base)
        line = ["device", "add", "lab-nano", "--ssh", f"nano@127.0.0.1:{board.port}", "--runtime", "trtexec"]
        assert rig.nuwa(*line, "--precision", "fp16") == 0
        board.commands.clear()
        capsys.readouterr()
        yield rig
        assert board.leftovers() == []


def test_the_cost_is_said_after_the_first_build_and_nothing_is_built_twice(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """No terminal, no -y, no --minutes: it stops there, and later runs go on, one of them after a run that failed."""
    assert rig.profile() == 2
    said = capsys.readouterr().err
    for part in ("jetson-nano", "4.0 min", "10 whole nets", "10 engines", "0.7 h", "MiB on the board", "add -y"):
        assert part in said
    assert rig.board.num_commands(BUILD) == 1  # the base: it told which board this is

    rig.board.fault("measure-oom", 1)  # the second net's engine is there and its run fails
    assert rig.profile("-y") == 3
    assert rig.board.num_commands(BUILD) == 2
    assert len(rig.board.kept()) == 2  # the base's and the one that was not timed yet
    capsys.readouterr()

    assert rig.profile("-y", "--json") == 0
    streams = capsys.readouterr()
    answer: dict[str, Any] = json.loads(streams.out)
    assert (answer["models_measured"], answer["transferred_from"]) == (10, "jetson-nano")
    assert "10 engines" in streams.err
    assert rig.board.num_commands(BUILD) == 11
    assert rig.board.kept() == []
    assert rig.nuwa("predict", str(rig.base), "--device", "lab-nano", "--json") == 0

    rig.board.commands.clear()
    assert rig.profile("--json") == 0  # everything is there: nothing to ask
    assert rig.board.num_commands(BUILD) == 0


def test_minutes_that_hold_no_table_are_refused_with_what_is_needed(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rig.profile("--minutes", "12") == 2
    said = capsys.readouterr().err
    for part in ("4.0 min", "rows of the latency table", "do not hold", "--minutes out for a transfer"):
        assert part in said
    assert rig.board.num_commands(BUILD) == 1


def test_a_transfer_within_minutes_asks_nobody(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert rig.profile("--from", "jetson-nano", "--minutes", "600", "--json") == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["models_measured"] == 10
    assert "9 engines" in streams.err
    assert "hold about" in streams.err


def test_costs_by_hand() -> None:
    rest = ProfileRest(num_engines=10, num_rows=0, num_models=10, engine_mb=20.0, num_kept=1, minutes=None)
    assert rest.cost(360).hours == 1.0
    assert rest.cost(360).disk_mb == 60.0
    assert (rest.after_first(360).num_engines, rest.after_first(360).num_models) == (9, 9)
    timed = ProfileCost(240, 39, 12, 12, 20.0, 48, minutes=156)
    assert timed.fits
    assert not ProfileCost(240, 39, 12, 12, 20.0, 48, minutes=155).fits
    assert "hold about 39 engines" in timed.words("lab")


def test_a_sibling_is_found_by_what_was_probed_never_by_name() -> None:
    nano = device_spec("jetson-nano")
    for changes, found in (
        ({"name": "kitchen", "compute_capability": "5.3", "power_mode": "5W"}, "jetson-nano-5w"),
        ({"name": "jetson-orin-nano", "compute_capability": "5.3", "power_mode": "MAXN"}, "jetson-nano"),
        ({"name": "x", "compute_capability": "6.2", "power_mode": "odd"}, "jetson-tx2"),
        ({"name": "jetson-nano", "compute_capability": "12.0"}, None),
        ({"name": "jetson-nano", "compute_capability": None}, None),
    ):
        spec = device_spec("jetson-nano").__class__(**{**vars(nano), "kind": "ssh", "precision": "fp32", **changes})
        sibling = emulated_sibling(spec)
        assert (sibling.name if sibling else None) == found
        assert sibling is None or sibling.precision == "fp32"
    unknown = nano.__class__(**{**vars(nano), "kind": "ssh", "compute_capability": None})
    probed = emulated_sibling(unknown, compute_capability="7.2")
    assert probed is not None
    assert probed.name == "jetson-xavier-nx"
