"""Latencies of archs on one device, each measured once and remembered."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from nuwa.arch import Arch
from nuwa.device import Device, Measurement, MeasureProtocol

if TYPE_CHECKING:
    import onnx

    from latency.table.row import TableRow

Export = Callable[[Arch], "onnx.ModelProto"]


class Notebook(Protocol):
    """Where a profile keeps what it measured, at once, so that nothing is lost or measured twice."""

    def rows(self) -> Sequence["TableRow"]:
        """Return the rows of this device and protocol."""
        ...

    def add_row(self, row: "TableRow") -> None:
        """Keep a row."""
        ...

    def models(self) -> Sequence[tuple[Arch, Measurement]]:
        """Return whole models measured on this device under this protocol."""
        ...

    def add_model(self, arch: Arch, measurement: Measurement) -> None:
        """Keep a whole-model measurement; ``measurement.state["role"]`` says what it was for."""
        ...


class MemoryNotebook:
    """A notebook that lives as long as the process."""

    def __init__(self, rows: Iterable["TableRow"] = (), models: Iterable[tuple[Arch, Measurement]] = ()) -> None:
        self._rows = list(rows)
        self._models = list(models)

    def rows(self) -> Sequence["TableRow"]:
        return tuple(self._rows)

    def add_row(self, row: "TableRow") -> None:
        self._rows.append(row)

    def models(self) -> Sequence[tuple[Arch, Measurement]]:
        return tuple(self._models)

    def add_model(self, arch: Arch, measurement: Measurement) -> None:
        self._models.append((arch, measurement))


class ArchTimer:
    """Exports archs and measures them; chains that several rows share are measured once.

    Args:
        device: What measures.
        export: Makes the ONNX model of an arch, in the opset the device takes.
        protocol: How; None for the device's own.
        known: Measurements that need not be taken again, by ``arch_id``.
    """

    def __init__(
        self,
        device: Device,
        *,
        export: Export,
        protocol: MeasureProtocol | None = None,
        known: Mapping[str, Measurement] | None = None,
    ) -> None:
        self.device = device
        self.export = export
        self.protocol = protocol
        self.num_measured = 0
        self._known: dict[str, Measurement] = dict(known or {})

    def measure(self, arch: Arch, *, fresh: bool = False, role: str = "chain") -> Measurement:
        """Measure ``arch``, or recall it.

        Args:
            arch: The net.
            fresh: Measure again even if it is known.
            role: What for; kept in the measurement's state.
        """
        arch_id = arch.arch_id
        if not fresh and arch_id in self._known:
            return self._known[arch_id]
        found = self.device.measure(self.export(arch), protocol=self.protocol)
        measurement = replace(found, state={**found.state, "role": role})
        self.num_measured += 1
        self._known[arch_id] = measurement
        return measurement
