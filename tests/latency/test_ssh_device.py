"""A board over SSH, against a real server and a stand-in `trtexec`: figures, state, and every fault."""

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.transport import ConnectionFailedError, DiskFullError
from nuwa_search.latency.devices.board_facts import read_board_facts, spec_from_facts
from nuwa_search.latency.devices.ssh import SshDevice, ssh_device_from_spec
from nuwa_search.latency.devices.ssh_settings import SshSettings
from tests.support.ssh_board import Cut, SshBoard

BUILD, MEASURE, PROFILE = "--saveEngine", "--exportTimes", "--exportProfile"
PROTOCOL = MeasureProtocol(warmup_ms=100, min_duration_ms=1000, min_repetitions=20)
NANO = DeviceSpec(
    name="lab-nano",
    kind="ssh",
    runtime="tensorrt",
    runtime_version="8.2.1",
    precision="fp16",
    power_mode="MAXN",
    opset=13,
    compute_capability="5.3",
    memory_mb=3964,
)


def make_model(width: int = 64, *, op: str = "Relu", opset: int = 13) -> onnx.ModelProto:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [width, width], [0.5] * (width * width))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "m"), helper.make_node(op, ["h"], ["y"], "last")]
    shape = [1, width]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def expected_range_ms(model: onnx.ModelProto, *, fp16: bool = True) -> tuple[float, float]:
    """The stand-in's time: 0.4 ms and 1 (FP16) or 2 (FP32) ms per MiB, and up to 0.2 % of noise."""
    low = 0.4 + model.ByteSize() / 2**20 * (1 if fp16 else 2)
    return low, low * 1.002


class Rig:
    """A device on the board, with pauses that only count."""

    def __init__(self, board: SshBoard) -> None:
        self.board = board
        self.slept_s = 0.0
        self.on_sleep: Callable[[], None] = lambda: None
        self.devices: list[SshDevice] = []

    def device(self, spec: DeviceSpec = NANO, **changes: Any) -> SshDevice:
        settings = SshSettings(sysroot=self.board.sysroot, reconnect_s=20, build_timeout_s=60)
        made = SshDevice(
            spec,
            self.board.transport(),
            settings=dataclasses.replace(settings, **changes),
            sleep=self.sleep,
        )
        self.devices.append(made)
        return made

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.on_sleep()

    def measure(self, model: onnx.ModelProto | None = None, **changes: Any) -> Measurement:
        return self.device(**changes).measure(model or make_model(), protocol=PROTOCOL)


@pytest.fixture
def rig(board: SshBoard) -> Iterator[Rig]:
    rig = Rig(board)
    yield rig
    board.is_refusing = False
    for device in rig.devices:
        device.close()
    assert board.leftovers() == []  # whatever happened


def check_is_right(result: Measurement, model: onnx.ModelProto | None = None) -> None:
    low, high = expected_range_ms(model or make_model())
    assert low <= result.latency_ms.min <= result.latency_ms.median <= result.latency_ms.max <= high
    assert result.samples >= PROTOCOL.min_repetitions


class TestFigures:
    def test_measures_and_says_how(self, rig: Rig) -> None:
        result = rig.measure()
        check_is_right(result)
        assert result.provenance == "measured"
        assert result.device is NANO
        assert result.protocol == dataclasses.replace(PROTOCOL, clocks_pinned=True)
        assert sum(kernel.ms for kernel in result.breakdown) == pytest.approx(result.latency_ms.median)
        assert {kernel.kind for kernel in result.breakdown} == {
            "reformat",
            "convolution",
            "matmul",
            "softmax",
            "pointwise",
        }
        assert result.peak_memory_mb == 20
        assert result.state["power_mode"] == "MAXN"
        assert result.state["gpu_max_hz"] == "921600000"
        assert result.state["temp_GPU-therm_before"] == result.state["temp_GPU-therm_after"] == "38500"
        assert result.warnings == ()

    @pytest.mark.parametrize("version", ["8.0.1", "8.4.1", "8.5.2", "8.6.1", "10.3.0", "11.4.0"])
    def test_other_releases(self, rig: Rig, version: str) -> None:
        rig.board.version = version
        spec = dataclasses.replace(NANO, runtime_version=version, compute_capability="8.7", precision="fp32")
        model = make_model()
        result = rig.device(spec).measure(model, protocol=PROTOCOL)
        low, high = expected_range_ms(model, fp16=version.startswith("11"))
        assert low <= result.latency_ms.median <= high
        assert len(result.breakdown) == 5

    def test_transfers_are_in_the_figure_only_if_asked_for(self, rig: Rig) -> None:
        device = rig.device()
        without = device.measure(make_model(), protocol=PROTOCOL)
        with_them = device.measure(make_model(), protocol=dataclasses.replace(PROTOCOL, transfers=True))
        gain_ms = with_them.latency_ms.median - without.latency_ms.median
        assert gain_ms == pytest.approx(0.0598 + 0.0083, abs=2e-4)

    def test_an_engine_is_built_once_per_model_and_stay(self, rig: Rig) -> None:
        device = rig.device(with_profile=False)
        for model in (make_model(), make_model(), make_model(32), make_model()):
            check_is_right(device.measure(model, protocol=PROTOCOL), model)
        assert rig.board.num_commands(BUILD) == 2
        assert rig.board.num_commands(MEASURE) == 4
        for width in (8, 16, 24):
            device.measure(make_model(width), protocol=PROTOCOL)
        assert len(list(rig.board.tmp.rglob("*.engine"))) == 4  # the oldest are deleted
        assert list(rig.board.tmp.rglob("*.onnx")) == []

    def test_a_breakdown_that_fails_costs_only_the_breakdown(self, rig: Rig) -> None:
        for fault in ("profile-cut", "profile-cut-file", "profile-oom"):
            rig.board.fault(fault, 1)
            result = rig.device().measure(make_model(), protocol=PROTOCOL)
            check_is_right(result)
            assert result.breakdown == ()
            assert "no breakdown" in result.warnings[0]

    def test_a_noisy_run_is_repeated_not_averaged(self, rig: Rig) -> None:
        rig.board.fault("noisy", 2)
        check_is_right(rig.measure(with_profile=False))
        assert rig.board.num_commands(MEASURE) == 3

    def test_noise_that_stays_is_said(self, rig: Rig) -> None:
        rig.board.fault("noisy")
        result = rig.measure(with_profile=False)
        assert rig.board.num_commands(MEASURE) == 3
        assert any("unstable" in warning for warning in result.warnings)

    def test_a_cuda_graph_that_was_not_captured_is_no_figure(self, rig: Rig) -> None:
        rig.board.fault("graph")
        with pytest.raises(NuwaError, match="CUDA graph"):
            rig.device().measure(make_model(), protocol=dataclasses.replace(PROTOCOL, cuda_graph=True))


class TestPlan:
    @pytest.mark.parametrize(
        ("changes", "model", "reason"),
        [
            ({"precision": "int8"}, make_model(), "no native INT8"),
            ({"precision": "int8", "compute_capability": "6.2"}, make_model(), "no native INT8"),
            ({"runtime_version": "10.3.0"}, make_model(), "does not run on compute capability 5.3"),
            ({"runtime_version": "7.1"}, make_model(), "outside the known range"),
            ({"runtime_version": ""}, make_model(), "version of lab-nano is not known"),
            ({}, make_model(opset=17), "up to opset 13"),
            ({}, make_model(op="HardSwish"), "HardSwish"),
        ],
    )
    def test_the_illegal_is_refused_before_the_board_is_touched(
        self, rig: Rig, changes: dict[str, Any], model: onnx.ModelProto, reason: str
    ) -> None:
        with pytest.raises(NuwaError, match=reason) as caught:
            rig.device(dataclasses.replace(NANO, **changes)).measure(model)
        assert caught.value.exit_code == 2
        assert caught.value.hint
        assert rig.board.commands == []

    def test_another_tensorrt_than_registered_is_refused(self, rig: Rig) -> None:
        rig.board.version = "8.0.1"
        with pytest.raises(NuwaError, match=r"registered with TensorRT 8\.2\.1 and has 8\.0\.1"):
            rig.measure()
        assert rig.board.num_commands(BUILD) == 0

    def test_a_tensorrt_7_is_named_not_tried_again(self, rig: Rig) -> None:
        rig.board.trtexec.write_text('#!/bin/sh\necho "&&&& RUNNING TensorRT.trtexec # $0 $*"\n')
        with pytest.raises(NuwaError, match="TensorRT 7 or older") as caught:
            rig.measure()
        assert caught.value.exit_code == 2
        assert rig.slept_s == 0
        version = {finding.name: finding for finding in rig.device().doctor()}["TensorRT version"]
        assert (version.is_ok, "JetPack 4.6" in version.mend) == (False, True)


class TestState:
    def test_a_board_without_a_rail_for_all_of_it_is_said(self, rig: Rig) -> None:
        rig.board.set_file("sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0/rail_name_0", "GPU\n")
        rig.board.set_file("sys/bus/i2c/drivers/ina3221x/1-0040/iio:device0/in_power0_input", "310\n")
        result = rig.measure()
        assert result.state["power_rails_mw_before"] == "GPU 310"
        assert "power_in_mw_before" not in result.state
        assert any("no rail of this board" in warning for warning in result.warnings)

    def test_clocks_are_pinned_where_the_user_may(self, rig: Rig) -> None:
        rig.board.set_file("sys/devices/gpu.0/devfreq/57000000.gpu/min_freq", "76800000\n")
        (rig.board.root / "may_sudo").touch()
        result = rig.measure()
        assert result.protocol.clocks_pinned is True
        assert any("pinned by jetson_clocks" in warning for warning in result.warnings)

    def test_clocks_that_stay_loose_are_said_or_refused(self, rig: Rig) -> None:
        rig.board.set_file("sys/devices/gpu.0/devfreq/57000000.gpu/min_freq", "76800000\n")
        result = rig.measure()
        assert result.protocol.clocks_pinned is False
        assert any("not pinned" in warning for warning in result.warnings)
        with pytest.raises(NuwaError, match="pinned") as caught:
            rig.device().measure(make_model(), protocol=dataclasses.replace(PROTOCOL, clocks_pinned=True))
        assert "sudo jetson_clocks" in caught.value.hint

    def test_another_power_mode_than_registered_is_refused_before_the_build(self, rig: Rig) -> None:
        (rig.board.root / "power_mode").write_text("5W\n")
        with pytest.raises(NuwaError, match="registered for power mode MAXN and is in 5W"):
            rig.measure()
        assert rig.board.num_commands(BUILD) == 0

    def test_rows_of_two_states_never_mix(self, rig: Rig) -> None:
        device = rig.device()
        device.measure(make_model(), protocol=PROTOCOL)
        rig.board.set_file("sys/devices/system/cpu/online", "0-1\n")
        with pytest.raises(NuwaError, match=r"cpus_online 0-3 -> 0-1"):
            device.measure(make_model(), protocol=PROTOCOL)

    @pytest.mark.parametrize(
        ("file", "text", "said"),
        [
            ("sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq", "614400000", "throttled to 614400000 Hz"),
            ("proc/sys/kernel/random/boot_id", "another", "rebooted"),
            ("sys/devices/system/cpu/online", "0-1", "cpus_online"),
        ],
    )
    def test_a_change_under_a_run_discards_the_run(self, rig: Rig, file: str, text: str, said: str) -> None:
        path = rig.board.root / "sysroot" / file
        write_tool_that_changes(rig.board, path, text)
        with pytest.raises(OutsideError, match=said):
            rig.measure(max_attempts=1)

    def test_a_change_under_a_run_is_measured_again(self, rig: Rig) -> None:
        path = rig.board.root / "sysroot/proc/sys/kernel/random/boot_id"
        write_tool_that_changes(rig.board, path, "another")
        check_is_right(rig.measure())
        assert rig.board.num_commands(MEASURE) == 2
        assert rig.board.num_commands(BUILD) == 1

    def test_a_busy_board_is_waited_for_then_said(self, rig: Rig) -> None:
        (rig.board.root / "busy").write_text("1")
        with pytest.raises(OutsideError, match="another trtexec") as caught:
            rig.measure()
        assert caught.value.exit_code == 3
        assert rig.slept_s == 10
        assert rig.board.num_commands(BUILD) == 0


def write_tool_that_changes(board: SshBoard, path: Path, text: str) -> None:
    """Make the board change while `trtexec` runs."""
    board.trtexec.write_text(
        board.trtexec.read_text().replace("exec ", f'case "$*" in *{MEASURE}*) echo {text} > "{path}";; esac\nexec ', 1)
    )


STEPS = [
    pytest.param(pattern, id=name)
    for name, pattern in {
        "find": "command -v",
        "version": "--help",
        "state": "nv_tegra_release",
        "folder": "mktemp",
        "disk": "df -Pk",
        "check-copy": "sha256sum",
        "build": BUILD,
        "run-folder": "mkdir",
        "move": "mv --",
        "measure": MEASURE,
        "profile": PROFILE,
        "tidy": r"rm -rf -- .*/run-\*",
    }.items()
]


class TestLoad:
    """Ten minutes of one run of `trtexec`: throttling is what it is after."""

    def test_the_level_after_ten_minutes_and_what_heat_did(self, rig: Rig) -> None:
        rig.board.fault("heats", 1)
        zone, device = "sys/class/thermal/thermal_zone0/temp", rig.device()

        def cools() -> None:
            rig.board.set_file(zone, f"{max(39000, 61000 - 800 * int(rig.slept_s))}\n")

        rig.on_sleep = cools
        run = device.sustained(make_model(), seconds=600, protocol=PROTOCOL)
        low, high = expected_range_ms(make_model())
        assert [part.begin_s for part in run.bins] == [30 * i for i in range(20)]
        assert low * 4 / 3 <= run.level_ms <= high * 4 / 3
        assert run.slowdown == pytest.approx(1 / 3, abs=0.05)
        assert run.is_throttled
        assert run.state["load_gpu_hz_min"] == "614400000"
        assert float(run.state["load_throttled_share"]) > 0
        assert (run.state["load_temp_before"], run.state["load_temp_max"]) == ("38500", "61000")
        assert run.state["cooldown_s"] == "30"  # every five seconds: 57000 ... 41000, 39000, and 40500 is cool enough
        rig.board.set_file("sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq", "921600000\n")
        assert not device.sustained(make_model(), seconds=600, protocol=PROTOCOL).is_throttled

    def test_another_power_mode_after_it_is_no_answer(self, rig: Rig) -> None:
        rig.board.cuts.append(Cut("samples", after_s=0.0, then='echo 5W > "$BOARD_ROOT/power_mode"'))
        with pytest.raises(NuwaError, match="power mode MAXN and is in 5W"):
            rig.device().sustained(make_model(), seconds=600, protocol=PROTOCOL)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests were started in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestConnection:
    @pytest.mark.parametrize("step", STEPS)
    def test_lost_at_any_step_the_figure_is_right_or_there_is_none(self, rig: Rig, step: str) -> None:
        rig.board.cuts.append(Cut(step))
        try:
            result = rig.measure()
        except ConnectionFailedError:
            assert rig.board.num_commands("mktemp") == 0  # first contact: nothing to repair yet
            return
        check_is_right(result)
        assert rig.board.cuts[0].times == 0

    @pytest.mark.parametrize("step", [BUILD, MEASURE])
    def test_lost_in_the_middle_of_a_run_nothing_goes_on_running(self, rig: Rig, step: str) -> None:
        hang = "build-hang" if step == BUILD else "measure-hang"
        rig.board.fault(hang, 1)
        rig.board.cuts.append(Cut(step, after_s=0.6))
        check_is_right(rig.measure(with_profile=False))
        assert rig.board.num_commands("kill -KILL") >= 1
        assert rig.board.num_commands(step) == 2
        assert rig.board.children == set()  # the hung run was ended on the board

    def test_an_interrupt_ends_what_runs_on_the_board(self, rig: Rig, ctrl_c: None) -> None:
        rig.board.fault("measure-hang", 1)

        def interrupt_the_run() -> None:
            while rig.board.num_commands(MEASURE) == 0:  # where a signal comes between two steps is another question
                time.sleep(0.05)
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)

        interrupt = threading.Thread(target=interrupt_the_run)
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            rig.measure()
        interrupt.join()
        for device in rig.devices:
            device.close()
        assert rig.board.children == set()
        assert rig.board.leftovers() == []

    def test_a_broken_copy_is_copied_again(self, rig: Rig) -> None:
        rig.board.cut_copies = 1
        check_is_right(rig.measure(make_model(256)), make_model(256))

    def test_a_reboot_that_empties_tmp_costs_a_new_build(self, rig: Rig) -> None:
        device = rig.device(with_profile=False)
        device.measure(make_model(), protocol=PROTOCOL)
        rig.board.cuts.append(Cut(MEASURE, then='rm -rf "$TMPDIR"/*'))
        check_is_right(device.measure(make_model(), protocol=PROTOCOL))
        assert rig.board.num_commands(BUILD) == 2

    def test_a_board_that_stays_away_is_said_after_the_wait(self, rig: Rig) -> None:
        device = rig.device(with_profile=False)
        device.measure(make_model(), protocol=PROTOCOL)
        rig.board.cuts.append(Cut(MEASURE, after_s=0))
        original = rig.board.drop

        async def drop_and_stay_away(cut: Cut) -> None:
            rig.board.is_refusing = True
            await original(cut)

        rig.board.drop = drop_and_stay_away  # type: ignore[method-assign]
        with pytest.raises(OutsideError, match="did not come back within 20 s"):
            device.measure(make_model(), protocol=PROTOCOL)
        assert rig.slept_s == 20

    def test_a_board_lost_again_and_again_is_said_with_every_reason(self, rig: Rig) -> None:
        rig.board.cuts.append(Cut(MEASURE, times=9))
        with pytest.raises(OutsideError, match="no figure in 3 attempts") as caught:
            rig.measure()
        assert caught.value.message.count("no connection") == 3

    def test_a_host_key_that_changes_is_never_tried_again(self, rig: Rig) -> None:
        import asyncssh

        rig.board.trust_host(asyncssh.generate_private_key("ssh-ed25519"))
        with pytest.raises(NuwaError, match="host key"):
            rig.measure()
        assert rig.board.commands == []


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "step"),
        [
            ("build-cut", BUILD),
            ("build-noengine", BUILD),
            ("measure-cut", MEASURE),
            ("summary-cut", MEASURE),
            ("times-cut", MEASURE),
            ("times-rows", MEASURE),
            ("times-values", MEASURE),
        ],
    )
    def test_cut_or_contradictory_output_is_run_again(self, rig: Rig, fault: str, step: str) -> None:
        rig.board.fault(fault, 1)
        check_is_right(rig.measure(with_profile=False))
        assert rig.board.num_commands(step) == 2

    @pytest.mark.parametrize("fault", ["build-cut", "measure-cut", "times-cut", "times-rows", "times-values"])
    def test_output_that_stays_cut_is_said(self, rig: Rig, fault: str) -> None:
        rig.board.fault(fault)
        with pytest.raises(OutsideError, match="no figure in 2 attempts"):
            rig.measure(with_profile=False, max_attempts=2)

    @pytest.mark.parametrize(
        ("fault", "error", "said"),
        [
            ("build-oom", OutsideError, "out of memory"),
            ("build-killed", OutsideError, "Killed|memory runs out"),
            ("build-nospace", DiskFullError, "No space left"),
            ("build-parse", NuwaError, "ModelImporter"),
            ("measure-oom", OutsideError, "out of memory"),
        ],
    )
    def test_what_trying_again_cannot_mend_is_said_at_once(
        self, rig: Rig, fault: str, error: type[NuwaError], said: str
    ) -> None:
        rig.board.fault(fault)
        with pytest.raises(error, match=said) as caught:
            rig.measure()
        assert caught.value.hint
        assert caught.value.exit_code == (2 if fault == "build-parse" else 3)
        assert rig.board.num_commands(BUILD) == 1

    def test_a_hung_build_is_ended_on_the_board_and_tried_again(self, rig: Rig) -> None:
        rig.board.fault("build-hang", 1)
        check_is_right(rig.measure(build_timeout_s=1, with_profile=False))
        assert rig.board.num_commands(BUILD) == 2
        assert rig.board.children == set()

    def test_a_disk_without_room_is_refused_before_the_copy(self, rig: Rig) -> None:
        tool = rig.board.root / "bin" / "df"
        tool.write_text("#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
                        "echo '/dev/mmcblk0p1 1000000 990000 10000 99% /'\n")  # fmt: skip
        tool.chmod(0o700)
        with pytest.raises(DiskFullError, match="10 MiB free and this model needs 64"):
            rig.measure()
        assert rig.board.num_commands("sha256sum") == 0

    def test_a_disk_that_fills_during_the_copy_is_said(self, rig: Rig) -> None:
        rig.board.is_disk_full = True
        with pytest.raises(DiskFullError, match="no space left"):
            rig.measure()
        assert rig.board.num_commands(BUILD) == 0

    def test_no_trtexec_is_said_with_where_it_was_looked_for(self, rig: Rig) -> None:
        rig.board.trtexec.unlink()
        with pytest.raises(OutsideError, match="/usr/src/tensorrt/bin/trtexec"):
            rig.measure()


class TestDoctor:
    def test_a_healthy_board(self, rig: Rig) -> None:
        findings = rig.device().doctor()
        by_name = {finding.name: finding for finding in findings}
        assert set(by_name) == {
            "reachable", "trusted both ways", "system", "trtexec", "TensorRT version", "clocks pinned", "power mode",
            "disk", "memory", "temperature", "idle",
        }  # fmt: skip
        assert [f.name for f in findings if not f.is_ok and f.name != "disk"] == []  # the disk is this machine's
        assert "R32 (release), REVISION: 7.1" in by_name["system"].found
        assert by_name["TensorRT version"].found == "8.2.1"
        assert by_name["temperature"].found == "38 °C at GPU-therm"

    def test_every_fault_comes_with_what_to_type(self, rig: Rig) -> None:
        board = rig.board
        board.set_file("sys/devices/gpu.0/devfreq/57000000.gpu/min_freq", "76800000\n")
        board.set_file("proc/meminfo", "MemTotal: 4059264 kB\nMemAvailable: 500000 kB\n")
        board.set_file("sys/class/thermal/thermal_zone0/temp", "91000\n")
        (board.root / "power_mode").write_text("5W\n")
        (board.root / "busy").write_text("2")
        board.version = "8.0.1"
        findings = {f.name: f for f in rig.device().doctor()}
        for name in ("clocks pinned", "power mode", "memory", "temperature", "TensorRT version", "idle"):
            assert not findings[name].is_ok
            assert findings[name].mend
        board.trtexec.unlink()
        assert "apt-get install tensorrt" in {f.name: f for f in rig.device().doctor()}["trtexec"].mend

    def test_a_board_that_is_away_or_unknown(self, rig: Rig) -> None:
        import asyncssh

        rig.board.trust_host(asyncssh.generate_private_key("ssh-ed25519"))
        last = rig.device().doctor()[-1]
        assert (last.name, last.is_ok) == ("trusted both ways", False)
        assert "ssh-keygen -R" in last.mend
        rig.board.is_refusing = True
        (only,) = rig.device().doctor()
        assert (only.name, only.is_ok) == ("reachable", False)


class TestFacts:
    def test_a_board_is_registered_by_what_it_says(self, rig: Rig) -> None:
        transport = rig.board.transport()
        facts = read_board_facts(transport, sysroot=rig.board.sysroot)
        transport.close()
        spec = spec_from_facts("lab-nano", facts, address="nano@host", precision="fp16")
        assert dataclasses.replace(spec, options=(), note="") == NANO
        assert json.loads(json.dumps(dict(spec.options))) == {"ssh": "nano@host", "trtexec": str(rig.board.trtexec)}
        assert spec.note == "NVIDIA Jetson Nano Developer Kit"
        with pytest.raises(NuwaError, match="no native INT8"):
            spec_from_facts("lab-nano", facts, address="nano@host", precision="int8")
        assert ssh_device_from_spec(spec).spec is spec

    def test_a_spec_without_an_address_makes_no_device(self) -> None:
        with pytest.raises(NuwaError, match="without an SSH address"):
            ssh_device_from_spec(NANO)
