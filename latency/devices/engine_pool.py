"""A pool of boards that build engines: what a board over SSH can do, done by one of them."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nuwa_search.core.device import Device, DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.sustained import SustainedRun, SustainsLoad
from nuwa_search.core.runtime import CompiledModel, KeepsEngines, RunsModels
from nuwa_search.latency.devices.pool import PoolDevice, digest_of
from nuwa_search.latency.devices.pool_boards import PoolBoards
from nuwa_search.store.records import BoardLease

if TYPE_CHECKING:
    import onnx

    from nuwa_search.store.store import Store


class EnginePool(PoolDevice):
    """A pool whose boards compile models: an engine is built, run and deleted on the board that measured it.

    A board whose engine runs stays lent until ``close``.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        store: "Store",
        *,
        boards: PoolBoards,
        references: "Sequence[onnx.ModelProto]",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(spec, store, boards=boards, references=references, sleep=sleep)
        self._places: dict[str, str] = {}
        self._kept: BoardLease | None = None

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """See ``PoolDevice``; the board is remembered, for the engine lies there."""
        found = super().measure(model, protocol=protocol)
        self._places[digest_of(model)] = found.state["board"]
        return found

    def compiled(self, model: "onnx.ModelProto") -> CompiledModel:
        """Compile ``model`` on the board that measured it, or on one that is free; see ``RunsModels``.

        Raises:
            NuwaError: If the runtime cannot take the model.
            OutsideError: If no board is left, or this one failed.
        """
        device = self._kept_board(model)
        if not isinstance(device, RunsModels):
            raise NuwaError(f"the boards of {self.spec.name} time models and give no outputs")
        return device.compiled(model)

    def sustained(
        self, model: "onnx.ModelProto", *, seconds: float, protocol: MeasureProtocol | None = None
    ) -> SustainedRun:
        """Keep one board of the pool busy; figures are that board's own, uncorrected."""

        def load(device: Device) -> SustainedRun:
            if not isinstance(device, SustainsLoad):
                raise NuwaError(f"the boards of {self.spec.name} cannot be kept busy")
            return device.sustained(model, seconds=seconds, protocol=protocol)

        return self.on_a_board(load)[0]

    def has_engine(self, model: "onnx.ModelProto") -> bool:
        """Whether a board that this pool opened keeps an engine of ``model``."""
        return digest_of(model) in self._places

    def forget(self, model: "onnx.ModelProto") -> None:
        """Delete the engine of ``model`` on the board that built it."""
        board = self._places.pop(digest_of(model), None)
        if any(record.name == board and record.out_at is None for record in self.boards.records()):
            self.on_a_board(lambda device: _forget(device, model), among=(str(board),))

    def forget_all(self) -> None:
        """Delete what boards keep that were opened here; one that is lent to others keeps it, for they may use it."""
        self._places.clear()
        for name in self.boards.names_opened():
            lease = self.boards.lend(among=(name,))
            if lease is None:
                continue
            try:
                device = self.boards.device(lease)
                if isinstance(device, KeepsEngines):
                    device.forget_all()
            finally:
                self.boards.give_back(lease)

    def close(self) -> None:
        """Give back the board whose engine ran, and close all."""
        if self._kept is not None:
            self.boards.give_back(self._kept)
            self._kept = None
        super().close()

    def _kept_board(self, model: "onnx.ModelProto") -> Device:
        """Lend the board that measured ``model``, or any where that one is unknown or out, and keep it."""
        place = self._places.get(digest_of(model))
        takes_part = any(record.name == place and record.out_at is None for record in self.boards.records())
        wanted = (place,) if place is not None and takes_part else None
        if self._kept is not None and wanted is not None and self._kept.board not in wanted:
            self.boards.give_back(self._kept)
            self._kept = None
        if self._kept is None:
            self._kept = self.wait_for_board(among=wanted)
        return self.boards.device(self._kept)


def _forget(device: Device, model: "onnx.ModelProto") -> None:
    if isinstance(device, KeepsEngines):
        device.forget(model)
