"""ONNX Runtime or OpenVINO on this CPU."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import PROTOCOL, DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.bursts import Clock, Run, time_inferences, timed_run, warm_up
from nuwa_search.core.measuring.memory import watch_memory
from nuwa_search.core.measuring.stats import spread_warnings, stats_from_samples
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.compiled_session import CompiledSession, compiled_session
from nuwa_search.latency.devices.cpu_graph import load_session, open_graph
from nuwa_search.latency.devices.host_facts import affinity_of, load_average, threads_of

# A ViT with the same kinds of operators as what is measured and weights beyond the first-level cache:
# with a reference of half a millisecond, repeats were no better than without any.
_REFERENCE = Arch(blocks=(BlockSpec(6, 32, 32, 768),) * 5, embed_dim=192, num_classes=10, img_size=32, patch_size=4)
# The reference's nominal latency is its 20th percentile over this many bursts when the device is
# opened: what it takes when nothing else runs, without betting on the single luckiest burst.
_NOMINAL_BURSTS = 40
_NOMINAL_PERCENTILE = 20
_BURST_COUNT = 5


class HostDevice:
    """Times ONNX models on this CPU; drift of the machine is divided out by a reference model.

    Args:
        spec: Its runtime is what runs; threads and affinity are in its options.
        seed: Seed of the random image.
    """

    def __init__(self, spec: DeviceSpec, *, seed: int = 0) -> None:
        self._spec = spec
        self._seed = seed
        # One thread does all the work then, and its own clock stops while other programs run.
        self._clock: Clock = time.thread_time if threads_of(spec) == 1 else time.perf_counter
        self._reference: Run | None = None
        self._nominal_ms = 0.0

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Time ``model``; see ``nuwa_search.core.device.Device``.

        Raises:
            NuwaError: If the runtime cannot take the model or its batch is not the device's.
        """
        protocol = protocol or PROTOCOL
        load_before = load_average()
        with _bound_to(affinity_of(self._spec)):
            reference = self._warm_reference(protocol)
            content = model.SerializeToString()  # ours, not the runtime's
            with watch_memory() as memory:
                run, said = self._loaded(content)
                run()
            timed = timed_run(run, reference, protocol=protocol, clock=self._clock)
        samples = timed.samples_ms(nominal_ms=self._nominal_ms)
        stats = stats_from_samples(samples)
        warnings = [*said, *spread_warnings(stats)]
        if timed.num_outliers:
            warnings.append(f"{timed.num_outliers} bursts were disturbed by other work and repeated")
        state = {
            "raw_median_ms": f"{timed.raw_median_ms:.6g}",
            "reference_ms": f"{timed.reference_ms:.6g}",
            "reference_nominal_ms": f"{self._nominal_ms:.6g}",
            "load_before": load_before or "",
            "load_after": load_average() or "",
        }
        return Measurement(
            device=self._spec,
            protocol=replace(protocol, transfers=True, cuda_graph=False, clocks_pinned=None),
            provenance="measured",
            latency_ms=stats,
            samples=len(samples),
            peak_memory_mb=memory.peak_mb,
            state=state,
            warnings=tuple(warnings),
        )

    def compiled(self, model: "onnx.ModelProto") -> CompiledSession:
        """Load ``model`` as it is timed; see ``nuwa_search.core.runtime.RunsModels``."""
        content = model.SerializeToString()
        session, runtime = load_session(content, spec=self._spec)
        return compiled_session(session, content, runtime=runtime)

    def _loaded(self, content: bytes) -> tuple[Run, tuple[str, ...]]:
        """Load a model; return a function that runs it once on fixed random values, and what to know of these."""
        graph = open_graph(content, spec=self._spec, seed=self._seed)
        for name, value in graph.feeds.items():
            if value.shape and value.shape[0] != self._spec.batch:
                raise NuwaError(
                    f"{self._spec.name} runs batch {self._spec.batch}, and input {name!r} of the model takes "
                    f"{value.shape[0]}",
                    hint=f"export the model with batch {self._spec.batch}",
                )
        return graph.run, graph.warnings

    def _warm_reference(self, protocol: MeasureProtocol) -> Run:
        if self._reference is None:
            model = onnx_from_arch(_REFERENCE, opset=self._spec.opset, batch=self._spec.batch)
            run, _ = self._loaded(model.SerializeToString())
            warm_up(run, warmup_ms=protocol.warmup_ms, clock=self._clock)
            medians = [
                np.median(time_inferences(run, count=_BURST_COUNT, clock=self._clock)) for _ in range(_NOMINAL_BURSTS)
            ]
            self._nominal_ms = float(np.percentile(medians, _NOMINAL_PERCENTILE))
            self._reference = run
        return self._reference


@contextmanager
def _bound_to(cores: tuple[int, ...]) -> Iterator[None]:
    """Bind this process to ``cores`` for a while; nothing where none are given."""
    if not cores:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise NuwaError("this system cannot bind a process to cores", hint="leave the affinity option out")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise NuwaError(f"this machine has no cores {cores}: {error}") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
