"""Profiles of a device whose engines build for four minutes, by a clock of its own: nothing is waited for here."""

import dataclasses
from dataclasses import dataclass, field

import onnx
import pytest

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.device import Measurement, MeasureProtocol
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import OutsideError
from nuwa_search.core.runtime import CompiledModel, KeepsEngines
from nuwa_search.latency.table.timer import MemoryNotebook
from nuwa_search.latency.table.watch import Watch
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.predictors.profile_plan import least_plan
from nuwa_search.predictors.transfer_profile import profile_by_transfer
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

BUILD_S, RUN_S = 240.0, 5.0
SMALL = ProfileSettings(num_fit=8, num_heldout=6, max_rows=20)


@dataclass
class Board:
    """What outlives a program: the board's clock, its engines, and the notebook."""

    now_s: float = 0.0
    engines: set[str] = field(default_factory=set)
    builds: list[str] = field(default_factory=list)
    most_kept: int = 0
    notebook: MemoryNotebook = field(default_factory=MemoryNotebook)
    dies_after: int | None = None  # runs

    def clock(self) -> float:
        return self.now_s


class SlowDevice(ClosedFormDevice):
    """Builds an engine for four minutes and keeps it; a run takes seconds."""

    def __init__(self, board: Board) -> None:
        super().__init__(Formula(), kind="ssh")
        self.board = board

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        arch_id = arch_of(model).arch_id
        if arch_id not in self.board.engines:
            self.board.now_s += BUILD_S
            self.board.engines.add(arch_id)
            self.board.builds.append(arch_id)
            self.board.most_kept = max(self.board.most_kept, len(self.board.engines))
        if self.board.dies_after is not None:
            self.board.dies_after -= 1
            if self.board.dies_after < 0:
                raise OutsideError("the board is away")
        self.board.now_s += RUN_S
        return super().measure(model, protocol=protocol)

    def compiled(self, model: onnx.ModelProto) -> CompiledModel:
        raise NotImplementedError

    def has_engine(self, model: onnx.ModelProto) -> bool:
        return arch_of(model).arch_id in self.board.engines

    def forget(self, model: onnx.ModelProto) -> None:
        self.board.engines.discard(arch_of(model).arch_id)

    def forget_all(self) -> None:
        self.board.engines.clear()


def arch_of(model: onnx.ModelProto) -> Arch:
    return arch_from_dict(json_from_text(model.graph.doc_string, what="the arch"))


def run(board: Board, *, minutes: float, told: list[float] | None = None) -> None:
    profile(
        SlowDevice(board),
        BASE,
        export=export,
        notebook=board.notebook,
        settings=dataclasses.replace(SMALL, minutes=minutes),
        watch=Watch(on_first=None if told is None else told.append, clock=board.clock),
    )


def test_the_device_is_one_that_keeps_engines() -> None:
    assert isinstance(SlowDevice(Board()), KeepsEngines)


def test_the_first_build_is_told_before_the_second_begins() -> None:
    board, told = Board(), list[float]()
    run(board, minutes=600, told=told)
    assert told == [BUILD_S + RUN_S]


def test_what_it_raises_ends_the_profile_with_the_first_net_kept() -> None:
    board = Board()

    def refuse(seconds: float) -> None:
        raise OutsideError(f"{seconds:g} s is too long")

    with pytest.raises(OutsideError, match="245 s"):
        profile(
            SlowDevice(board),
            BASE,
            export=export,
            notebook=board.notebook,
            watch=Watch(on_first=refuse, clock=board.clock),
        )
    assert len(board.builds) == 1
    assert board.notebook.models()


def test_an_overnight_profile_keeps_to_its_minutes_by_the_boards_clock() -> None:
    board = Board()
    run(board, minutes=600)
    # A row that was begun in time is finished: its chains are at most a handful of engines.
    assert 0.5 * 600 <= board.now_s / 60 <= 600 + 6 * (BUILD_S + RUN_S) / 60
    assert len(board.builds) == len(set(board.builds))


def test_the_least_is_what_a_profile_out_of_time_really_measures() -> None:
    board = Board()
    run(board, minutes=1e-9)
    plan = least_plan(BASE, SlowDevice(board).spec, settings=SMALL)
    assert plan.num_models == len(
        {a.arch_id for a, m in board.notebook.models() if m.state["role"] in ("fit", "heldout")}
    )
    # Which background keeps the device busy is probed, so a few chains differ from device to device.
    assert len(set(board.builds)) == pytest.approx(plan.num_engines, abs=8)


@pytest.mark.parametrize("patience", [1, 4, 13])
def test_killed_again_and_again_nothing_is_built_or_measured_twice(patience: int) -> None:
    """Each day the board dies after a few runs; engines that were built and not timed are used the next day."""
    whole, torn = Board(), Board()
    run(whole, minutes=1e-9)
    for _ in range(1000):
        torn.dies_after = patience
        try:
            run(torn, minutes=1e-9)
            break
        except OutsideError:
            continue
    else:
        pytest.fail("it never ended")
    assert len(torn.builds) == len(set(torn.builds))
    # A day that begins with time left may begin another row, so there may be more of them.
    rows = {row.key: row.latency_ms for row in torn.notebook.rows()}
    assert {row.key: row.latency_ms for row in whole.notebook.rows()}.items() <= rows.items()


def test_an_engine_goes_once_what_it_was_built_for_is_stored() -> None:
    board = Board()
    run(board, minutes=600)
    assert board.engines == set()
    assert board.most_kept <= SMALL.num_fit + SMALL.num_heldout + 2  # repeats of whole nets lie a round apart


def test_a_transfer_keeps_one_engine_at_a_time_and_builds_at_most_ten() -> None:
    source = profile(ClosedFormDevice(Formula()), BASE, export=export, settings=SMALL).predictor
    board = Board()
    result = profile_by_transfer(
        SlowDevice(board), BASE, source=source, export=export, notebook=board.notebook, watch=Watch(clock=board.clock)
    )
    assert (result.models_measured, len(board.builds), board.most_kept, board.engines) == (10, 10, 1, set())
