"""What is measured on, how it is measured, and what came out, as values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:  # reading a spec must stay fast: `nuwa device ls` loads this module
    import onnx

DeviceKind = str
"""``emulated``, ``host``, ``openvino``, ``cuda``, ``ssh``, or one that another package brings (``core.extensions``)."""
Provenance = Literal["measured", "emulated", "transferred"]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class DeviceSpec:
    """One device × runtime × precision × power mode; latencies of different specs never mix.

    Args:
        name: Name in the registry, such as ``jetson-nano``.
        kind: How it is reached.
        runtime: ``tensorrt``, ``onnxruntime``, ``openvino`` or ``torch``.
        runtime_version: Version whose behaviour is measured or emulated; empty when not known yet.
        precision: Precision that the engine is built with.
        batch: Images per inference.
        power_mode: Named power mode; None where the device has none.
        opset: Newest ONNX opset that the runtime takes.
        compute_capability: CUDA compute capability such as ``5.3``; None without a GPU.
        memory_mb: Memory the runtime may use; None when not known.
        options: Further facts that are part of the identity (threads, affinity, SSH address).
        note: One line for people; not part of the identity.
    """

    name: str
    kind: DeviceKind
    runtime: str
    runtime_version: str
    precision: Precision
    batch: int = 1
    power_mode: str | None = None
    opset: int = 18
    compute_capability: str | None = None
    memory_mb: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def provenance(self) -> Provenance:
        return "emulated" if self.kind == "emulated" else "measured"

    @property
    def device_id(self) -> str:
        """Identify everything that changes latency: 16 hex digits of SHA-256."""
        values = asdict(self)
        del values["note"], values["memory_mb"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class MeasureProtocol:
    """How a latency is taken; stored with every figure, and figures of two protocols never mix.

    Args:
        warmup_ms: Minimum time spent in discarded inferences.
        min_duration_ms: Minimum time spent in counted inferences.
        min_repetitions: Minimum number of counted inferences.
        transfers: Whether copies to and from the device are inside the timing.
        cuda_graph: Whether launches are replayed from a graph.
        clocks_pinned: Whether clocks were pinned; None where it cannot be known.
    """

    warmup_ms: float = 200.0
    min_duration_ms: float = 500.0
    min_repetitions: int = 20
    transfers: bool = False
    cuda_graph: bool = False
    clocks_pinned: bool | None = None

    @property
    def protocol_id(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


PROTOCOL = MeasureProtocol()
"""How every figure is taken where nothing else is asked for, so that they may be compared."""


@dataclass(frozen=True)
class LatencyStats:
    """Statistics of counted inferences in milliseconds; ``cv`` is sd / mean, a fraction.

    ``sustained`` is the median at the end of ten minutes of load; None where nobody asked for it.
    """

    median: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    min: float
    max: float
    cv: float
    sustained: float | None = None


@dataclass(frozen=True)
class KernelTime:
    """One line of a breakdown: a kernel, layer or block and its share of the latency."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Measurement:
    """One measured latency with everything needed to trust it.

    Args:
        device: What was measured on.
        protocol: How.
        provenance: ``measured`` or ``emulated``.
        latency_ms: Statistics over the samples.
        samples: Counted inferences.
        breakdown: Kernels or blocks whose times add up to the median, where they can be had.
        board_interval_ms: For emulated devices, how far the emulator was from real boards of model
            families it had not seen, around the median; None for real devices.
        peak_memory_mb: Peak memory as ``core/peak_memory.py`` counts it; None where it cannot be had.
        state: Clocks, temperature, load before and after, as the device tells them.
        warnings: What a person should know before using the figure.
    """

    device: DeviceSpec
    protocol: MeasureProtocol
    provenance: Provenance
    latency_ms: LatencyStats
    samples: int
    breakdown: tuple[KernelTime, ...] = ()
    board_interval_ms: tuple[float, float] | None = None
    peak_memory_mb: float | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Device(Protocol):
    """Something that can say how long an ONNX model takes on it.

    Threads: one at a time. Ownership: who opened a device closes it, as a context manager where it is one; the graph is
    the caller's and is not changed. Guarantees: the measurement is of ``spec``, and what is written in
    ``nuwa_search.testing.device``.
    """

    @property
    def spec(self) -> DeviceSpec:
        """Return what this is; reading it must not touch the device."""
        ...

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Run ``model`` (static shapes, batch as in ``spec``) and time it.

        Raises:
            NuwaError: If the runtime cannot take the model, before anything is copied or run.
            OutsideError: If the device failed.
        """
        ...


@runtime_checkable
class MeasuresMany(Protocol):
    """A device that measures several models at the same time, each on a board of its own."""

    @property
    def num_at_once(self) -> int:
        """Return how many models it can measure at the same time now, at least 1."""
        ...

    def measure_all(
        self, models: "Sequence[onnx.ModelProto]", *, protocol: MeasureProtocol | None = None
    ) -> list[Measurement]:
        """Measure each model as ``Device.measure`` does, in their order.

        Raises:
            NuwaError: As ``Device.measure``; the other measurements of this call are lost.
            OutsideError: As ``Device.measure``.
        """
        ...


def device_json(spec: DeviceSpec) -> dict[str, Any]:
    """Render a spec as the ``device`` part of the JSON answers."""
    return {
        "name": spec.name,
        "provenance": spec.provenance,
        "runtime": spec.runtime,
        "runtime_version": spec.runtime_version,
        "precision": spec.precision,
        "batch": spec.batch,
        "power_mode": spec.power_mode,
    }
