"""One job opened as a search opens it: images decoded, the base with the task's head, and its emulated device."""

from pathlib import Path

from benchmarks.real_size.jobs import Job
from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import PROTOCOL, DeviceSpec, Measurement
from nuwa_search.core.sources import open_task
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.search.job.inputs import Inputs, Sources, decode_inputs

DEVICE = "jetson-nano"


def open_inputs(job: Job, *, shared: Path, cache_dir: Path, seed: int) -> Inputs:
    """Open base and task; a fitted head is read from where searches with this ``cache_dir`` keep theirs, or fitted."""
    base = load_base(job.base)
    task = open_task(base, data=job.data_in(shared), label_column=None, classes=job.classes, seed=seed)
    return decode_inputs(Sources(base, task, (device_spec(DEVICE),), "auto"), cache=Cache(cache_dir / "task"))


def measured(arch: Arch, spec: DeviceSpec) -> Measurement:
    """Measure a net of this shape, without weights, on the emulated device."""
    model = onnx_from_arch(arch, opset=spec.opset, batch=spec.batch, has_weights=False)
    return open_device(spec, seed=1).measure(model, protocol=PROTOCOL)
