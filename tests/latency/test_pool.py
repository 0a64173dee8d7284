"""A pool of boards as one device: models spread over boards, drift corrected, boards that fail and come back."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol, MeasuresMany
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices import find
from nuwa_search.latency.devices.drift import board_ratios, reference_archs
from nuwa_search.latency.devices.find import find_device, opened_device
from nuwa_search.latency.devices.finding import Finding
from nuwa_search.latency.devices.pool import PoolDevice
from nuwa_search.latency.devices.pool_boards import PoolBoards
from nuwa_search.latency.devices.pool_spec import pool_spec
from nuwa_search.latency.devices.registry import open_device
from nuwa_search.latency.table.timer import ArchTimer, MemoryNotebook
from nuwa_search.predictors.whole_models import measure_models
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.records import BoardLease
from nuwa_search.store.store import Store, open_store
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

KIND = DeviceSpec("formula", "host", "paper", "1", "fp32")
NAMES = ("b1", "b2", "b3", "b4", "b5")


class PlayedBoard(ClosedFormDevice):
    """A board ``factor`` times as slow as the formula, that fails while it is broken and refuses to be shared."""

    def __init__(self, spec: DeviceSpec, factor: float, *, noise: float) -> None:
        super().__init__(Formula(), noise=noise, seed=int(spec.name[1:]))
        self._spec = spec
        self.factor = factor
        self.broken = ""
        self.in_use = False

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        assert not self.in_use, "two measured on one board at once"
        self.in_use = True
        try:
            if self.broken:
                raise OutsideError(self.broken)
            if not model.graph.doc_string:  # a real reference net, whose time does not matter here
                model = export(BASE)
            found = super().measure(model, protocol=protocol)
        finally:
            self.in_use = False
        stats = {k: v if k == "cv" or v is None else v * self.factor for k, v in vars(found.latency_ms).items()}
        return replace(found, latency_ms=replace(found.latency_ms, **stats))

    def doctor(self) -> list[Finding]:
        return [Finding("reachable", is_ok=not self.broken, found=self.broken or "here", mend="plug it in")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        yield opened


class Farm:
    """Played boards and the pool over them."""

    def __init__(self, store: Store, factors: dict[str, float], *, noise: float = 0.0) -> None:
        self.store = store
        specs = [replace(KIND, name=name) for name in factors]
        self.boards = {spec.name: PlayedBoard(spec, factors[spec.name], noise=noise) for spec in specs}
        self.spec = pool_spec("lab", specs)
        store.save_pool("lab", list(factors))
        self.waited = 0

    @contextmanager
    def opened(self, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[PoolDevice]:
        references = [export(arch) for arch in reference_archs()]
        boards = PoolBoards(
            "lab",
            self.store,
            find=lambda name: self.boards[name].spec,
            open_board=lambda spec: self.boards[spec.name],
            probe=references[0],
            recheck_s=0.0,
        )

        def wait(_: float) -> None:
            self.waited += 1
            assert self.waited < 100
            on_wait()

        with PoolDevice(self.spec, self.store, boards=boards, references=references, sleep=wait) as pool:
            yield pool


def test_ratios_are_the_factors_and_noise_is_told_apart() -> None:
    times = {
        name: [[f * 2.0] * 3, [f * 5.0] * 3, [f * 9.0] * 3] for name, f in zip("abc", (1.0, 0.9, 1.2), strict=True)
    }
    exact = {r.board: r for r in board_ratios(times)}
    assert [exact[name].ratio for name in "abc"] == pytest.approx([1.0, 0.9, 1.2])
    assert [exact[name].is_off for name in "abc"] == [False, True, True]  # without noise any difference is one
    odd = {**times, "b": [[2.4], [4.0], [9.0]]}  # faster in one net, slower in another: nothing to correct
    (_, found, _) = board_ratios(odd)
    assert not found.is_off
    assert found.interval is not None
    assert found.interval[0] < found.ratio < found.interval[1]
    (alone,) = board_ratios({"a": times["a"]})
    assert (alone.ratio, alone.interval, alone.is_off) == (1.0, None, False)


def test_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    rng, held, total = np.random.default_rng(0), 0, 0
    for _ in range(200):
        logs = rng.normal(0, 0.02, size=(8, 3)) + np.arange(8)[:, None] * 0.01
        found = board_ratios({str(b): [[math.exp(x)] for x in nets] for b, nets in enumerate(logs)})
        for b, ratio in enumerate(found):
            assert ratio.interval is not None
            held += ratio.interval[0] <= math.exp(0.01 * b - 0.035) <= ratio.interval[1]
            total += 1
    assert 0.93 < held / total < 0.99


def test_figures_of_unlike_boards_agree_once_corrected(store: Store) -> None:
    farm = Farm(store, dict(zip(NAMES, (1.0, 1.0, 1.1, 0.8, 1.0), strict=True)), noise=0.001)
    with farm.opened() as pool:
        assert isinstance(pool, MeasuresMany)
        assert pool.num_at_once == 5
        found = pool.measure_all([export(BASE)] * 20)
    true_ms = Formula().latency(BASE)
    assert [m.latency_ms.median for m in found] == pytest.approx([true_ms] * 20, rel=0.01)
    assert {m.device for m in found} == {farm.spec}
    assert set(Counter(m.state["board"] for m in found)) == set(NAMES)
    off = {m.state["board"] for m in found if m.state.get("board_corrected") == "yes"}
    assert {"b3", "b4"} <= off
    slow = next(m for m in found if m.state["board"] == "b3")
    assert "slower than the median board of lab: corrected for that" in slow.warnings[-1]
    assert [r.ratio for r in store.boards("lab")] == pytest.approx([1.0, 1.0, 1.1, 0.8, 1.0], rel=0.01)
    before = sum(len(board.measured) for board in farm.boards.values())
    with farm.opened() as pool:  # figures of a day are taken once
        pool.measure(export(BASE))
    assert sum(len(board.measured) for board in farm.boards.values()) == before + 1


def test_board_that_fails_leaves_and_comes_back_when_its_doctor_is_content(store: Store) -> None:
    farm = Farm(store, {"b1": 1.0, "b2": 1.0})
    with farm.opened() as pool:
        pool.measure(export(BASE))
        farm.boards["b1"].broken = farm.boards["b2"].broken = "no route to host"
        with pytest.raises(OutsideError, match=r"no board of lab is left: b1: reachable: no route to host") as error:
            pool.measure(export(BASE))
        assert error.value.hint.startswith("nuwa doctor lab")
        assert all("no route to host" in str(record.out_reason) for record in store.boards())
        farm.boards["b2"].broken = ""
        assert pool.measure(export(BASE)).state["board"] == "b2"
        farm.boards["b1"].broken = ""
        found = pool.boards.examine_all()
    assert [record.out_at for record in store.boards("lab")] == [None, None]
    assert {name: [one.is_ok for one in findings] for name, findings in found.items()} == {"b1": [True], "b2": [True]}


def test_a_model_that_healthy_boards_fail_on_empties_no_pool(store: Store) -> None:
    farm = Farm(store, dict.fromkeys(NAMES, 1.0))
    with farm.opened() as pool:
        pool.compare()
        for board in farm.boards.values():
            board.doctor = lambda: [Finding("reachable", is_ok=True, found="here")]  # type: ignore[method-assign]
            board.broken = "trtexec crashed"
        with pytest.raises(
            OutsideError, match=r"no board of lab could measure this model: b\d: trtexec crashed; b\d: trt"
        ):
            pool.measure(export(BASE))
    assert not any(record.is_leased or record.out_at for record in store.boards("lab"))


def test_measurement_waits_for_a_board_and_lost_leases_do_not_count(store: Store) -> None:
    farm = Farm(store, {"b1": 1.0})
    held = store.lease_board("lab", party="another", among=("b1",))
    assert held is not None
    with farm.opened(on_wait=lambda: store.release_board(held)) as pool:
        found = pool.measure(export(BASE))
    assert farm.waited == 1
    assert found.warnings[-1] == "measured on b1, which was not compared with the other boards of lab yet"
    release, calls = store.release_board, []

    def lost_once(lease: BoardLease) -> bool:
        calls.append(release(lease))
        return len(calls) > 1

    store.release_board = lost_once  # type: ignore[method-assign]
    with farm.opened() as pool:
        pool.measure(export(BASE))
    assert len(calls) >= 2


def test_nets_of_a_profile_are_spread_over_the_boards(store: Store) -> None:
    farm = Farm(store, dict.fromkeys(NAMES, 1.0))
    archs = [replace(BASE, blocks=BASE.blocks[:depth]) for depth in range(1, 7)]
    with farm.opened() as pool:
        pool.compare()
        for board in farm.boards.values():
            board.measured.clear()
        timer = ArchTimer(pool, export=export)
        nets = measure_models(archs, role="fit", sessions=[timer], notebook=MemoryNotebook(), repeats=2)
        timer.measure_ahead(archs)
        chains = [timer.measure(arch).latency_ms.median for arch in archs]
    assert sum(len(board.measured) for board in farm.boards.values()) == 18
    assert all(len(board.measured) >= 2 for board in farm.boards.values())
    expected = [Formula().latency(arch) for arch in archs]
    assert [net.mean_ms for net in nets] == pytest.approx(expected)
    assert chains == pytest.approx(expected)


def test_boards_of_a_pool_are_of_a_kind() -> None:
    with pytest.raises(NuwaError, match="b1 and b2 are not of a kind: runtime_version 1 and 2"):
        pool_spec("lab", [replace(KIND, name="b1"), replace(KIND, name="b2", runtime_version="2")])
    ssh = replace(KIND, kind="ssh", options=(("ssh", "user@b1"), ("trtexec", "/x")), memory_mb=4000)
    spec = pool_spec("lab", [replace(ssh, name="b1"), replace(ssh, name="b2", memory_mb=3000)])
    assert (spec.options, spec.memory_mb, spec.kind) == ((("pool", "lab"),), 3000, "ssh")
    with pytest.raises(NuwaError, match="lab is a pool itself"):
        pool_spec("two", [spec])
    with pytest.raises(NuwaError, match="lab is a pool of boards, and this needs one board"):
        open_device(spec)


def nuwa(*line: str, db: Path) -> int:
    return run(cli, [*line, "--db", str(db)], prog_name="nuwa")


def test_pool_by_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "nuwa.sqlite"
    with open_store(str(db)) as store:
        for name in ("n1", "n2"):
            store.list_device(replace(KIND, name=name))
    monkeypatch.setattr(find, "open_device", lambda spec, **_: PlayedBoard(spec, 1.0, noise=0.01))
    add = ("device", "add", "lab", "--board", "n1", "--board", "n2")
    assert nuwa(*add, "--json", db=db) == 0
    assert json.loads(capsys.readouterr().out)["device"]["boards"] == ["n1", "n2"]
    assert nuwa("device", "add", "lab2", "--board", "n1", "--board", "jetson-nano", db=db) == 2
    assert "not of a kind" in capsys.readouterr().err
    assert nuwa("device", "add", "lab2", db=db) == 2
    assert nuwa("doctor", "lab", "--json", db=db) == 0
    checks = {row["check"]: row for row in json.loads(capsys.readouterr().out)["findings"]}
    assert {"n1: reachable", "n1: drift", "n2: drift"} <= checks.keys()
    assert nuwa("device", "show", "lab", "--json", db=db) == 0
    shown = json.loads(capsys.readouterr().out)["boards"]
    assert [(board["name"], board["takes_part"], board["num_leases"]) for board in shown] == [
        ("n1", True, 2),
        ("n2", True, 2),
    ]
    with open_store(str(db)) as store, opened_device(find_device("lab", store), store=store) as pool:
        found = pool.measure(_vit(pool.spec))
        assert (found.device.name, found.provenance) == ("lab", "measured")
        assert found.state["board"] in ("n1", "n2")
    assert nuwa("query", "--sql", "SELECT board, pool FROM v_boards ORDER BY board", "--json", db=db) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0] == {"board": "n1", "pool": "lab"}
    assert nuwa("device", "rm", "lab", "-y", db=db) == 0
    with open_store(str(db)) as store:
        assert store.boards() == ()


def _vit(spec: DeviceSpec) -> onnx.ModelProto:
    arch: Arch = reference_archs()[0]
    return onnx_from_arch(arch, opset=spec.opset, has_weights=False)
