"""What every device must do: a fixture ``device`` gives an opened one."""

import dataclasses
import math

import onnx
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Device, LatencyStats, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision

TINY = Arch(blocks=(BlockSpec(1, 8, 8, 16),), embed_dim=16, num_classes=3, img_size=8, patch_size=4)
MAPS = dataclasses.replace(TINY, global_pool="patches")
"""The same net, answering for every pixel."""


class DeviceContract:
    """Times graphs and says how. Subclass it as ``TestMine`` beside the fixture."""

    PROTOCOL = MeasureProtocol(warmup_ms=1, min_duration_ms=5, min_repetitions=5)
    """How the tests measure."""

    def graph(self, device: Device, *, batch: int | None = None, arch: Arch = TINY) -> onnx.ModelProto:
        """Make a small net as the device takes it."""
        spec = device.spec
        return onnx_from_arch(arch, opset=spec.opset, precision=graph_precision(spec), batch=batch or spec.batch)

    def test_the_spec_is_an_identity(self, device: Device) -> None:
        spec = device.spec
        assert device.spec == spec
        assert spec.name
        assert spec.runtime
        assert dataclasses.replace(spec, note="another", memory_mb=1).device_id == spec.device_id
        assert dataclasses.replace(spec, batch=spec.batch + 1).device_id != spec.device_id

    @pytest.mark.parametrize("arch", [TINY, MAPS], ids=["images", "pixels"])
    def test_a_measurement_says_what_it_is_of(self, device: Device, arch: Arch) -> None:
        found = device.measure(self.graph(device, arch=arch), protocol=self.PROTOCOL)
        assert found.device == device.spec
        assert found.provenance == device.spec.provenance
        assert found.protocol.min_repetitions == self.PROTOCOL.min_repetitions
        assert found.samples >= 1
        assert found.board_interval_ms is None or found.provenance == "emulated"
        assert found.peak_memory_mb is None or found.peak_memory_mb > 0

    def test_the_statistics_are_of_one_sample(self, device: Device) -> None:
        stats = device.measure(self.graph(device), protocol=self.PROTOCOL).latency_ms
        figures = dataclasses.asdict(stats)
        assert all(math.isfinite(ms) for ms in figures.values() if ms is not None)
        assert 0 < stats.min <= stats.median <= stats.max
        assert stats.min <= stats.mean <= stats.max
        assert stats.median == pytest.approx(stats.p50)
        assert _is_sorted(stats)
        assert stats.cv >= 0

    def test_the_breakdown_adds_up_to_the_median(self, device: Device) -> None:
        found = device.measure(self.graph(device), protocol=self.PROTOCOL)
        if found.breakdown:
            assert sum(part.ms for part in found.breakdown) == pytest.approx(found.latency_ms.median, rel=0.01)

    def test_the_graph_is_the_callers(self, device: Device) -> None:
        graph = self.graph(device)
        before = graph.SerializeToString(deterministic=True)
        device.measure(graph, protocol=self.PROTOCOL)
        assert graph.SerializeToString(deterministic=True) == before

    def test_another_batch_is_refused(self, device: Device) -> None:
        with pytest.raises(NuwaError):
            device.measure(self.graph(device, batch=device.spec.batch + 1), protocol=self.PROTOCOL)


def _is_sorted(stats: LatencyStats) -> bool:
    ordered = [stats.min, stats.p50, stats.p90, stats.p95, stats.p99, stats.max]
    return ordered == sorted(ordered)
