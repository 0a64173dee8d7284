"""What `nuwa doctor` finds on a board, and how a board is registered by what it says."""

import dataclasses
import json

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.board_facts import read_board_facts, spec_from_facts
from nuwa_search.latency.devices.ssh import ssh_device_from_spec
from tests.support.ssh_rig import NANO, Rig


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
