"""Keep what a profile measures in the database, row by row."""

from collections.abc import Sequence
from dataclasses import replace

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import dict_from_key, key_from_dict
from nuwa_search.store.records import LutEntry
from nuwa_search.store.store import Store


class StoreNotebook:
    """The notebook of one device and protocol; every figure is in the database before the next is taken.

    Args:
        store: The database.
        device: What is measured on.
        protocol: How.
    """

    def __init__(self, store: Store, *, device: DeviceSpec, protocol: MeasureProtocol) -> None:
        self._store = store
        self._device = device
        self._protocol = protocol
        self._rows: list[TableRow] | None = None
        self._models: list[tuple[Arch, Measurement]] | None = None

    def rows(self) -> Sequence[TableRow]:
        return tuple(self._known_rows())

    def add_row(self, row: TableRow) -> None:
        known = self._known_rows()
        entry = LutEntry(dict_from_key(row.key), row.latency_ms, row.provenance, row.stats)
        self._store.save_lut_rows(self._device, self._protocol, [entry])
        known.append(row)

    def models(self) -> Sequence[tuple[Arch, Measurement]]:
        return tuple(self._known_models())

    def add_model(self, arch: Arch, measurement: Measurement) -> None:
        known = self._known_models()
        # A profile measures hundreds of nets whose kernels nobody asks for; `nuwa measure` gives them again.
        slim = replace(measurement, breakdown=(), protocol=self._protocol)
        self._store.save_measurement(slim, arch=arch)
        known.append((arch, slim))

    def _known_rows(self) -> list[TableRow]:
        if self._rows is None:
            entries = self._store.load_lut_rows(self._device.device_id, self._protocol.protocol_id)
            self._rows = [TableRow(key_from_dict(dict(e.key)), e.latency_ms, e.provenance, e.stats) for e in entries]
        return self._rows

    def _known_models(self) -> list[tuple[Arch, Measurement]]:
        if self._models is None:
            records = self._store.measurements(self._device.device_id, protocol_id=self._protocol.protocol_id)
            self._models = [(r.arch, r.measurement) for r in records if r.arch is not None]
        return self._models
