"""Contract suites: what every device, predictor, runtime, transport and store must do, for the tests of who writes one.

Subclass a suite as ``TestMine`` in a file of tests, beside the fixture that it names::

    from nuwa_search.testing.device import DeviceContract

    @pytest.fixture
    def device():
        return MyDevice(...)

    class TestMine(DeviceContract):
        pass

They need pytest. The ones of this program pass them.
"""

import pytest

for name in ("device", "predictor", "runtime", "transport", "store"):  # so that a failed assert shows its values
    pytest.register_assert_rewrite(f"{__name__}.{name}")
