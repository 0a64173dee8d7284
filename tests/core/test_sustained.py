import onnx
import pytest

from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.sustained import (
    SustainedBin,
    SustainedDevice,
    judged_by,
    raw_median_ms,
    sustain,
    sustained_run,
)


class Heating:
    """Gets slower with every measurement; each takes a second."""

    def __init__(self, per_measurement: float, *, has_state: bool = False) -> None:
        self.now = 0.0
        self.per_measurement = per_measurement
        self.has_state = has_state

    @property
    def spec(self) -> DeviceSpec:
        return DeviceSpec("hot", "ssh", "tensorrt", "8.2.1", "fp16")

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        ms = 10 * (1 + self.per_measurement * self.now)
        self.now += 1.0
        stats = LatencyStats(ms, ms, ms, ms, 1.1 * ms, ms, ms, ms, 0.0)
        state = {"raw_median_ms": str(2 * ms)} if self.has_state else {}
        return Measurement(self.spec, protocol or MeasureProtocol(), "measured", stats, 20, state=state)


def test_throttling_is_seen() -> None:
    device = Heating(0.01)
    run = sustain(device, onnx.ModelProto(), seconds=60, num_bins=6, clock=lambda: device.now)
    assert len(run.bins) == 6
    assert run.bins[0].median_ms == pytest.approx(10.45)  # seconds 0 to 9
    assert run.bins[-1].median_ms == pytest.approx(15.45)
    assert run.bins[0].p95_ms == pytest.approx(1.1 * 10.45)
    assert run.slowdown == pytest.approx(15.45 / 10.45 - 1)
    assert run.is_throttled


def test_a_steady_device_is_not_throttled() -> None:
    device = Heating(0.0)
    assert not sustain(device, onnx.ModelProto(), seconds=30, num_bins=3, clock=lambda: device.now).is_throttled


def test_figures_are_those_before_drift_was_divided_out() -> None:
    device = Heating(0.0, has_state=True)
    assert raw_median_ms(device.measure(onnx.ModelProto())) == 20.0
    run = sustain(device, onnx.ModelProto(), seconds=30, num_bins=3, clock=lambda: device.now)
    assert run.bins[0].median_ms == 20.0


def test_a_device_under_a_sustained_budget_says_what_it_keeps_up() -> None:
    device = Heating(0.01)
    plain = judged_by(device, "median")
    assert plain is device
    warm = SustainedDevice(device, seconds=40, clock=lambda: device.now)
    found = warm.measure(onnx.ModelProto())
    assert found.latency_ms.median == 10.0  # still the cool one
    # 20 bins of 2 s after the cool measurement: the last has seconds 39 and 40
    assert found.latency_ms.sustained == pytest.approx(10 * (1 + 0.01 * 39.5))
    assert found.state["sustained_s"] == "40"
    assert any("throttled" in warning for warning in found.warnings)
    assert isinstance(judged_by(device, "sustained"), SustainedDevice)


def test_too_short_a_run_is_refused() -> None:
    with pytest.raises(NuwaError, match="at least two bins"):
        sustained_run([SustainedBin(0, 1, 1)])
