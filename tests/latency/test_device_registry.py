import subprocess
import sys

import onnx
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.host import HostDevice
from nuwa_search.latency.devices.host_facts import affinity_of, host_spec, threads_of
from nuwa_search.latency.devices.registry import builtin_specs, device_spec, open_device

TINY = Arch(blocks=(BlockSpec(1, 8, 8, 16),), embed_dim=16, num_classes=3, img_size=8, patch_size=4)
SHORT = MeasureProtocol(warmup_ms=1, min_duration_ms=5, min_repetitions=5)


def onnx_of(arch: Arch, *, batch: int = 1, opset: int = 17) -> onnx.ModelProto:
    from nuwa_search.deploy.export.from_arch import onnx_from_arch

    return onnx_from_arch(arch, opset=opset, batch=batch)


def test_built_in_devices_are_there() -> None:
    known = builtin_specs()
    assert {"jetson-nano", "jetson-nano-5w", "host"} <= set(known)
    assert all(name == spec.name for name, spec in known.items())
    ids = [spec.device_id for spec in known.values()]
    assert len(ids) == len(set(ids))


def test_an_unknown_device_answers_with_the_nearest() -> None:
    with pytest.raises(NuwaError) as caught:
        device_spec("jetson-nanno")
    assert "did you mean 'jetson-nano'?" in caught.value.hint


def test_devices_of_users_are_found() -> None:
    mine = DeviceSpec("lab", "ssh", "tensorrt", "8.2.1", "fp16")
    assert device_spec("lab", extra={"lab": mine}) is mine


def test_naming_devices_loads_no_torch_and_no_runtime() -> None:
    code = (
        "import sys; from nuwa_search.latency.devices.registry import builtin_specs; builtin_specs(); "
        "print([m for m in ('torch', 'timm', 'onnxruntime', 'openvino', 'pandas', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_threads_and_affinity_are_part_of_the_identity() -> None:
    one, two, bound = host_spec(), host_spec(threads=2), host_spec(affinity=(0,))
    assert len({one.device_id, two.device_id, bound.device_id}) == 3
    assert (threads_of(two), affinity_of(bound), affinity_of(one)) == (2, (0,), ())


def test_host_measures_and_says_how() -> None:
    device = open_device(host_spec(affinity=(0,)))
    assert isinstance(device, HostDevice)
    found = device.measure(onnx_of(TINY), protocol=SHORT)
    assert found.provenance == "measured"
    assert found.samples >= 5
    assert 0 < found.latency_ms.min <= found.latency_ms.median <= found.latency_ms.p99 <= found.latency_ms.max
    assert float(found.state["reference_nominal_ms"]) > 0


def test_host_refuses_another_batch_and_missing_cores() -> None:
    with pytest.raises(NuwaError, match="batch 1"):
        HostDevice(host_spec()).measure(onnx_of(TINY, batch=2), protocol=SHORT)
    with pytest.raises(NuwaError, match="no cores"):
        HostDevice(host_spec(affinity=(4095,))).measure(onnx_of(TINY), protocol=SHORT)


def test_emulated_sessions_differ_by_their_seed() -> None:
    spec = device_spec("jetson-nano")
    model = onnx_of(TINY, opset=spec.opset)
    first, second = (open_device(spec, seed=s).measure(model).latency_ms.median for s in (1, 2))
    assert first != second
    assert first == pytest.approx(second, rel=0.05)


def test_cuda_without_a_gpu_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(NuwaError, match="no CUDA GPU"):
        device_spec("cuda")
