"""The emulated board and this CPU keep the contract of every device."""

import pytest

from nuwa_search.core.device import Device
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.testing.device import DeviceContract


@pytest.fixture(params=["jetson-nano", "host"], scope="module")
def device(request: pytest.FixtureRequest) -> Device:
    return open_device(device_spec(request.param))


class TestDevice(DeviceContract):
    """Boards over SSH have tests of their own, against a stand-in."""
