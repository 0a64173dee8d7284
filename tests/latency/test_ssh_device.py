"""A board over SSH, against a real server and a stand-in `trtexec`: figures, state, and every fault."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.transport import ConnectionFailedError, DiskFullError
from tests.support.ssh_board import Cut, SshBoard
from tests.support.ssh_rig import (
    BUILD,
    MEASURE,
    NANO,
    PROFILE,
    PROTOCOL,
    Rig,
    check_is_right,
    expected_range_ms,
    make_model,
)


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
