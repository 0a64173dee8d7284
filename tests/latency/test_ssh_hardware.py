"""A real board, where there is one: NUWA_TEST_BOARD=user@host, reachable by key and known by host key."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nuwa_search.core.device import MeasureProtocol
from nuwa_search.latency.devices.board_facts import read_board_facts, spec_from_facts
from nuwa_search.latency.devices.ssh import SshDevice, ssh_device_from_spec
from nuwa_search.latency.transport.ssh import SshTransport, ssh_address_from_text
from tests.support.ssh_rig import make_model

pytestmark = [pytest.mark.device, pytest.mark.slow]


@pytest.fixture(scope="module")
def device() -> Iterator[SshDevice]:
    address = os.environ.get("NUWA_TEST_BOARD")
    if not address:
        pytest.skip("NUWA_TEST_BOARD names no board")
    transport = SshTransport(ssh_address_from_text(address))
    facts = read_board_facts(transport)
    transport.close()
    device = ssh_device_from_spec(spec_from_facts("test-board", facts, address=address, precision="fp32"))
    yield device
    device.close()


def test_doctor_answers(device: SshDevice) -> None:
    findings = {finding.name: finding for finding in device.doctor()}
    assert findings["trtexec"].is_ok
    assert findings["TensorRT version"].is_ok


@pytest.mark.timeout(3600)
def test_two_measurements_of_one_model_agree(device: SshDevice, tmp_path: Path) -> None:
    protocol = MeasureProtocol(warmup_ms=500, min_duration_ms=2000)
    model = make_model(512)
    first, second = (device.measure(model, protocol=protocol).latency_ms.median for _ in range(2))
    assert first == pytest.approx(second, rel=0.1)
