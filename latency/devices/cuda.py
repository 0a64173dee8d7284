"""A CUDA GPU of this machine, driven by torch; launches are replayed from a CUDA graph."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nuwa_search.core.device import PROTOCOL, DeviceSpec, Measurement, MeasureProtocol, Precision
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.measuring.stats import spread_warnings, stats_from_samples
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.peak_memory import BYTES_PER_MB
from nuwa_search.deploy.runtimes.torch_graph import TorchGraph
from nuwa_search.latency.devices.compiled_session import CompiledSession, compiled_session

if TYPE_CHECKING:
    import onnx

# Runs before capture on a side stream, as torch's notes on CUDA graphs ask for.
_CAPTURE_WARMUPS = 3
_TORCH_TYPES = {"fp32": torch.float32, "fp16": torch.float16}


def cuda_spec(*, precision: Precision = "fp16") -> DeviceSpec:
    """Describe the first CUDA GPU.

    Raises:
        NuwaError: If torch sees none, or the precision is not one that torch runs a ViT in here.
    """
    if not torch.cuda.is_available():
        raise NuwaError("device cuda was asked for, and torch sees no CUDA GPU here", hint="use --device host")
    if precision not in _TORCH_TYPES:
        raise NuwaError(f"device cuda runs fp32 and fp16, not {precision}", hint="use --precision fp16")
    major, minor = torch.cuda.get_device_capability()
    return DeviceSpec(
        name="cuda",
        kind="cuda",
        runtime="torch",
        runtime_version=str(torch.__version__),
        precision=precision,
        opset=17,
        compute_capability=f"{major}.{minor}",
        memory_mb=int(torch.cuda.get_device_properties(0).total_memory / BYTES_PER_MB),
        options=(("gpu", torch.cuda.get_device_name()),),
        note="torch on this machine's GPU, replayed from a CUDA graph",
    )


class CudaDevice:
    """Times ONNX models on the GPU with CUDA events.

    Args:
        spec: Its precision decides the type of all tensors.
        seed: Seed of the random image.
    """

    def __init__(self, spec: DeviceSpec, *, seed: int = 0) -> None:
        self._spec = spec
        self._seed = seed

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Time ``model``; see ``nuwa_search.core.device.Device``.

        Raises:
            NuwaError: If the model holds an operator that exported ViTs do not.
            OutsideError: If the GPU failed.
        """
        protocol = replace(protocol or PROTOCOL, cuda_graph=True, transfers=False)
        try:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()  # tensors of this program that are not the model's
            run = self._captured(model)
            samples = _replay(run, protocol)
            peak_memory_mb = (torch.cuda.max_memory_allocated() - held) / BYTES_PER_MB
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutsideError(f"{self._spec.name} ran out of memory", hint="use a smaller model or batch") from error
        stats = stats_from_samples(samples)
        return Measurement(
            device=self._spec,
            protocol=protocol,
            provenance="measured",
            latency_ms=stats,
            samples=len(samples),
            peak_memory_mb=peak_memory_mb,
            warnings=spread_warnings(stats),
        )

    def compiled(self, model: "onnx.ModelProto") -> CompiledSession:
        """Put ``model`` on the GPU as it is timed; see ``nuwa_search.core.runtime.RunsModels``."""
        session = TorchGraph(model, dtype=_TORCH_TYPES[self._spec.precision], device="cuda")
        return compiled_session(session, model.SerializeToString(), runtime=f"torch {torch.__version__} on CUDA")

    @torch.inference_mode()
    def _captured(self, model: "onnx.ModelProto") -> Callable[[], None]:
        """Run ``model`` a few times, then capture its launches in a graph and return its replay."""
        graph_run = TorchGraph(model, dtype=_TORCH_TYPES[self._spec.precision], device="cuda")
        shape = graph_run.input_shape
        if shape[0] != self._spec.batch:
            raise NuwaError(
                f"{self._spec.name} runs batch {self._spec.batch}, and the model takes {shape[0]}",
                hint=f"export the model with batch {self._spec.batch}",
            )
        rng = np.random.default_rng(self._seed)
        pixels = graph_run.on_device(rng.standard_normal(shape).astype(np.float32))

        def forward() -> Tensor:
            return graph_run.forward(pixels)

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_CAPTURE_WARMUPS):
                forward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward()
        return graph.replay


def _replay(run: Callable[[], None], protocol: MeasureProtocol) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Replay for the protocol's warm-up and duration; milliseconds of each inference by CUDA events."""
    samples: list[float] = []
    for limit_ms, minimum, is_counted in (
        (protocol.warmup_ms, 2, False),
        (protocol.min_duration_ms, protocol.min_repetitions, True),
    ):
        spent_ms, count = 0.0, 0
        while spent_ms < limit_ms or count < minimum:
            begin, end = (_event() for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            spent_ms += begin.elapsed_time(end)
            count += 1
            if is_counted:
                samples.append(begin.elapsed_time(end))
    return np.array(samples)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)
