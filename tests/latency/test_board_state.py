"""States of real boards, read from the files they have: rails by name, clocks, power modes."""

import json
from pathlib import Path

import pytest

from nuwa_search.core.errors import OutsideError
from nuwa_search.latency.devices.board_state import BoardState, read_board_state
from nuwa_search.latency.transport.local import LocalTransport

IIO = "/sys/bus/i2c/drivers/ina3221x"
HWMON = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4"


def read_files(folder: Path, files: dict[str, str]) -> BoardState:
    for name, text in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_board_state(LocalTransport(), sysroot=str(folder))


def test_public_states_are_read_right(shared: Path, tmp_path: Path) -> None:
    boards = json.loads((shared / "data" / "board_logs" / "states.json").read_text())
    assert len(boards) == 7
    for index, board in enumerate(boards):
        state = read_files(tmp_path / str(index), board["files"])
        assert {name: getattr(state, name) for name in board["right"]} == board["right"], board["board"]


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("device", ["iio:device0", "iio:device3"])
def test_the_whole_module_is_found_on_any_channel(tmp_path: Path, channel: int, device: str) -> None:
    names = ["VDD_CPU", "VDD_GPU"]
    names.insert(channel, "VDD_IN")
    files = {}
    for i, name in enumerate(names):
        files[f"{IIO}/0-0041/{device}/rail_name_{i}"] = f"{name}\n"
        files[f"{IIO}/0-0041/{device}/in_power{i}_input"] = f"{5000 if name == 'VDD_IN' else 70 + i}\n"
    assert read_files(tmp_path, files).power_in_mw == 5000


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_hwmon_rails_are_volts_times_amperes_of_one_channel(tmp_path: Path, channel: int) -> None:
    files = {}
    for i in (1, 2, 3):
        files[f"{HWMON}/in{i}_label"] = "VDD_IN\n" if i == channel else "NC\n"
        files[f"{HWMON}/in{i}_input"] = f"{5000 + i}\n"
        files[f"{HWMON}/curr{i}_input"] = f"{900 + i}\n"
    files[f"{HWMON}/in7_label"] = "sum of shunt voltages\n"
    files[f"{HWMON}/in7_input"] = "12\n"
    state = read_files(tmp_path, files)
    milliwatts = (5000 + channel) * (900 + channel) // 1000
    assert state.power_in_mw == milliwatts
    assert state.values["power_rails_mw"] == f"VDD_IN {milliwatts}"


def test_what_is_no_number_is_no_power(tmp_path: Path) -> None:
    files = {f"{HWMON}/in1_label": "VDD_IN", f"{HWMON}/in1_input": "5000", f"{HWMON}/curr1_input": "$(touch x)"}
    state = read_files(tmp_path, {**files, "/proc/loadavg": "0.25 0 0 1/2 3\n"})
    assert state.power_in_mw is None
    assert state.values["load_1min"] == "0.25"  # the rest of the state is read all the same


def test_a_clock_that_is_no_number_is_the_boards_fault(tmp_path: Path) -> None:
    gpu = "/sys/devices/gpu.0/devfreq/57000000.gpu"
    with pytest.raises(OutsideError, match="gpu_cur_hz is '9e8', wanted a whole number"):
        read_files(tmp_path, {f"{gpu}/cur_freq": "9e8\n"})


@pytest.mark.parametrize(
    ("status", "mode"),
    [
        ("pmode:0000 fmode:quiet", "0"),
        ("pmode:0002 fmode:fanNull", "2"),
        ("pmode:0010", "10"),
        ("fmode:cool pmode:0001", "1"),
        ("fmode:quiet", None),
        ("", None),
    ],
)
def test_a_fan_mode_is_no_power_mode(tmp_path: Path, status: str, mode: str | None) -> None:
    assert read_files(tmp_path, {"/var/lib/nvpmodel/status": status}).power_mode == mode


def test_a_number_gets_its_name_where_the_board_keeps_the_names(tmp_path: Path) -> None:
    conf = "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=5W >\n"
    files = {"/var/lib/nvpmodel/status": "pmode:0001 fmode:quiet", "/etc/nvpmodel.conf": conf}
    assert read_files(tmp_path, files).power_mode == "5W"


def test_the_chip_is_what_the_device_tree_says(tmp_path: Path) -> None:
    compatible = {"/proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767\0nvidia,tegra234\0"}
    assert read_files(tmp_path, compatible).chip == "tegra234"
    assert read_files(tmp_path / "none", {"/proc/loadavg": "1 1 1"}).chip is None
