"""Latencies of archs on one device, each measured once and remembered."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Device, Measurement, MeasureProtocol, MeasuresMany
from nuwa_search.core.runtime import KeepsEngines

if TYPE_CHECKING:
    import onnx

    from nuwa_search.latency.table.row import TableRow

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
        notebook: Where measurements of the roles in ``keeps`` are recalled from and kept at once.
        keeps: Roles worth keeping one by one: on a board, where each costs minutes, chains too; rows
            and whole nets are kept by those who measure them.
        on_first: Told, before a second net is measured, how many seconds the first one took with its engine's
            build; what it raises ends the profile, with the first net kept.
        clock: Seconds.
    """

    def __init__(
        self,
        device: Device,
        *,
        export: Export,
        protocol: MeasureProtocol | None = None,
        notebook: Notebook | None = None,
        keeps: Collection[str] = (),
        on_first: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = device
        self.export = export
        self.protocol = protocol
        self.num_measured = 0
        self._notebook = notebook
        self._keeps = frozenset(keeps)
        self._known: dict[str, Measurement] | None = None
        self._on_first = on_first
        self._clock = clock
        self._first: tuple[str, float] | None = None

    def measure(self, arch: Arch, *, fresh: bool = False, role: str = "chain") -> Measurement:
        """Measure ``arch``, or recall it.

        Args:
            arch: The net.
            fresh: Measure again even if it is known, and do not recall this figure later.
            role: What for; kept in the measurement's state.
        """
        known = self._recalled()
        arch_id = arch.arch_id
        if not fresh and arch_id in known:
            return known[arch_id]
        found = self._timed(arch)
        measurement = replace(found, state={**found.state, "role": role})
        self.num_measured += 1
        if not fresh:
            known[arch_id] = measurement
        if self._notebook is not None and role in self._keeps:
            self._notebook.add_model(arch, measurement)
            if not fresh:  # it is stored, and will be recalled from there
                self.release(arch)
        return measurement

    @property
    def num_at_once(self) -> int:
        """How many nets are measured at the same time: one, or as many as a pool has boards.

        One while nobody knows yet what a net costs and somebody waits to be told.
        """
        if self._on_first is not None and self._first is None:
            return 1
        return self.device.num_at_once if isinstance(self.device, MeasuresMany) else 1

    def measure_many(self, archs: Sequence[Arch], *, role: str) -> list[Measurement]:
        """Measure nets anew at the same time, each once; figures are in the order of ``archs``, and not recalled later.

        Args:
            archs: The nets.
            role: What for; kept in the measurements' state.
        """
        if len(archs) == 1 or not isinstance(self.device, MeasuresMany):
            return [self.measure(arch, fresh=True, role=role) for arch in archs]
        if self._first is not None:
            self._tell_first()
        found = self.device.measure_all([self.export(arch) for arch in archs], protocol=self.protocol)
        measured = [replace(one, state={**one.state, "role": role}) for one in found]
        self.num_measured += len(measured)
        if self._notebook is not None and role in self._keeps:
            for arch, one in zip(archs, measured, strict=True):
                self._notebook.add_model(arch, one)
        return measured

    def measure_ahead(self, archs: Iterable[Arch]) -> None:
        """Measure the nets that are not known yet at the same time, for ``measure`` to recall; no-op on one board."""
        if self.num_at_once == 1:
            return
        known = self._recalled()
        missing = list({arch.arch_id: arch for arch in archs if arch.arch_id not in known}.values())
        if not missing:
            return
        for arch, measurement in zip(missing, self.measure_many(missing, role="chain"), strict=True):
            known[arch.arch_id] = measurement
            if self._notebook is not None and "chain" in self._keeps:  # it is stored, and will be recalled from there
                self.release(arch)

    def release(self, arch: Arch) -> None:
        """Let a device delete what it built for ``arch``: everything that it was built for is stored."""
        if isinstance(self.device, KeepsEngines):
            self.device.forget(self.export(arch))

    def _timed(self, arch: Arch) -> Measurement:
        if self._first is not None and arch.arch_id != self._first[0]:
            self._tell_first()
        begin = self._clock()
        found = self.device.measure(self.export(arch), protocol=self.protocol)
        if self._first is None:
            # The builder's own count stands where the engine was there already, or the clock here is not the board's.
            built_s = float(found.state.get("engine_build_s", 0))
            self._first = arch.arch_id, max(self._clock() - begin, built_s)
        return found

    def _tell_first(self) -> None:
        if self._first is not None and self._on_first is not None:
            tell, self._on_first = self._on_first, None
            tell(self._first[1])

    def _recalled(self) -> dict[str, Measurement]:
        if self._known is None:
            models = self._notebook.models() if self._notebook is not None else ()
            kept = self._keeps - {"reference"}  # those are measured to see the spread, not to be recalled
            self._known = {arch.arch_id: m for arch, m in models if m.state.get("role") in kept}
        return self._known
