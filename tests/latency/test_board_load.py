"""A board under minutes of load."""

import pytest

from nuwa_search.core.errors import NuwaError
from tests.support.ssh_board import Cut
from tests.support.ssh_rig import PROTOCOL, Rig, expected_range_ms, make_model


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
