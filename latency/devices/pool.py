"""Several boards of a kind as one device: each model is measured on a board that is free, under a lease."""

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from nuwa_search.core.device import Device, DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.errors import OutsideError
from nuwa_search.latency.devices.board_guard import UnfitBoardError
from nuwa_search.latency.devices.drift import DRIFT_AGE_S, DRIFT_ROLE, REPEATS, board_ratios, corrected
from nuwa_search.latency.devices.pool_boards import PoolBoards
from nuwa_search.store.clock import utc_now
from nuwa_search.store.records import BoardLease, BoardRatio, BoardRecord

if TYPE_CHECKING:
    import onnx

    from nuwa_search.store.store import Store

T = TypeVar("T")

POLL_S = 0.5
"""Pause before a board is asked for again: a measurement takes seconds, its engine minutes."""
_FAULTS = (OutsideError, UnfitBoardError)
_MAX_UNEXPLAINED = 2
"""Healthy boards that may fail on one model before the model is taken for the cause."""


_COMPARE_PAUSE_S = 30.0
"""Pause between two questions to the database whether a board is due to be compared, such as one that came back."""


class PoolDevice:
    """A pool of boards, as a ``nuwa_search.core.device.Device`` that measures several models at once.

    Threads: any. Use it as a context manager, or call ``close``.

    Args:
        spec: Of the pool.
        store: The database, which holds its boards and their leases.
        boards: The boards as this party uses them; closed with it.
        references: Small models that all boards are held against each other by.
        sleep: Waits; a test hands in one that does not.
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
        self._spec = spec
        self._store = store
        self.boards = boards
        self._references = references
        self._sleep = sleep
        self._comparing = threading.Lock()
        self._asking = threading.Lock()
        self._compared: dict[str, BoardRatio] = {}
        self._compare_at = 0.0

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    @property
    def num_at_once(self) -> int:
        return max(1, sum(record.out_at is None for record in self.boards.records()))

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Measure ``model`` on a board that is free; wait for one where all are lent.

        A board that fails is examined. Where a fault is found it leaves the pool with its reason, and another board
        measures the model; so it does where a lease was lost meanwhile, since two may then have measured at once.

        Raises:
            NuwaError: If the runtime cannot take the model.
            OutsideError: If no board is left, or healthy boards fail on this model.
        """
        self.compare()
        found, board = self.on_a_board(lambda device: device.measure(model, protocol=protocol))
        if board not in self._compared:  # another party may have compared it meanwhile
            self._compared = self._known_ratios()
        return corrected(found, self._compared.get(board), pool=self._spec, board=board)

    def measure_all(
        self, models: "Sequence[onnx.ModelProto]", *, protocol: MeasureProtocol | None = None
    ) -> list[Measurement]:
        """Measure models on as many boards at once as take part; see ``nuwa_search.core.device.MeasuresMany``."""
        self.compare()
        with ThreadPoolExecutor(max(1, min(len(models), self.num_at_once)), "nuwa-pool") as threads:
            return list(threads.map(lambda model: self.measure(model, protocol=protocol), models))

    def compare(self) -> tuple[BoardRatio, ...]:
        """Hold the boards against each other by the reference nets, as far as their figures are older than a day.

        A board that somebody else measures on now is left for the next time.

        Returns:
            The ratio of each board that was ever compared.
        """
        with self._comparing:
            if time.monotonic() < self._compare_at:
                return tuple(self._compared.values())
            due = [record.name for record in self.boards.records() if _is_due(record)]
            if due:
                with ThreadPoolExecutor(len(due), "nuwa-pool") as threads:
                    compared = [name for name in threads.map(self._run_references, due) if name is not None]
                if compared:
                    self._store.save_ratios(self._spec.name, self._ratios(), compared=compared)
            self._compare_at = time.monotonic() + _COMPARE_PAUSE_S
            self._compared = self._known_ratios()
            return tuple(self._compared.values())

    def close(self) -> None:
        """Close the boards."""
        self.boards.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on_a_board(self, work: Callable[[Device], T], *, among: Collection[str] | None = None) -> tuple[T, str]:
        """Do something on a board, and on another one where that fails; return what came out, and where.

        Args:
            work: What to do; the board is lent to nobody else meanwhile.
            among: Only on one of these boards; None for any.

        Raises:
            OutsideError: If no board is left, or healthy boards failed.
        """
        reasons: list[str] = []
        num_unexplained = 0
        while True:
            lease = self.wait_for_board(reasons, among=among)
            try:
                found = work(self.boards.device(lease))
            except _FAULTS as error:
                reasons.append(f"{lease.board}: {error.message}")
                num_unexplained += not self.boards.judge(lease, error)
                if num_unexplained >= _MAX_UNEXPLAINED:
                    raise OutsideError(
                        f"no board of {self._spec.name} could measure this model: " + "; ".join(reasons),
                        hint=error.hint,
                    ) from error
                continue
            except BaseException:
                self.boards.give_back(lease)
                raise
            if self.boards.give_back(lease):
                return found, lease.board
            reasons.append(f"{lease.board}: the lease was lost")

    def wait_for_board(self, reasons: Sequence[str] = (), *, among: Collection[str] | None = None) -> BoardLease:
        """Wait until a board can be had.

        Args:
            reasons: Why boards failed before.
            among: Only one of these; None for any.

        Raises:
            OutsideError: If all of them are out.
        """
        # One of a party's threads asks at a time: hundreds that wait would ask the database hundreds of times as often.
        with self._asking if among is None else nullcontext():
            return self._waited_for(reasons, among)

    def _waited_for(self, reasons: Sequence[str], among: Collection[str] | None) -> BoardLease:
        while True:
            lease = self.boards.lend(among=among)
            if lease is not None:
                return lease
            records = [r for r in self.boards.records() if among is None or r.name in among]
            if all(record.out_at is not None for record in records) and not self.boards.look_again():
                left = "; ".join(f"{r.name}: {r.out_reason}" for r in records) or "it has none"
                why = left if not reasons else f"{left} (here: {'; '.join(reasons)})"
                raise OutsideError(
                    f"no board of {self._spec.name} is left: {why}",
                    hint=f"nuwa doctor {self._spec.name} says what to type, and takes back what is well again",
                )
            self._sleep(POLL_S)

    def _run_references(self, board: str) -> str | None:
        """Measure the reference nets on one board and store them; None where it is lent to others, or failed."""
        lease = self.boards.lend(among=(board,))
        if lease is None:
            return None
        found: list[tuple[str, Measurement]] = []
        try:
            device = self.boards.device(lease)
            for model in (model for _ in range(REPEATS) for model in self._references):
                found += [(digest_of(model), device.measure(model))]
        except _FAULTS as error:
            self.boards.judge(lease, error)
            return None
        except BaseException:
            self.boards.give_back(lease)
            raise
        if not self.boards.give_back(lease):
            return None
        for digest, measurement in found:
            state = {**measurement.state, "role": DRIFT_ROLE, "pool": self._spec.name}
            self._store.save_measurement(_slim(measurement, state), onnx_hash=digest)
        return board

    def _known_ratios(self) -> dict[str, BoardRatio]:
        return {r.name: _ratio_of(r) for r in self.boards.records() if r.ratio is not None}

    def _ratios(self) -> list[BoardRatio]:
        """Compare what is stored of the reference nets, the newest repeats of each board that takes part."""
        times: dict[str, list[list[float]]] = {}
        for record in self.boards.records():
            if record.out_at is not None:
                continue
            nets = [self._newest_ms(record.name, digest_of(model)) for model in self._references]
            if all(nets):
                times[record.name] = nets
        return board_ratios(times)

    def _newest_ms(self, board: str, digest: str) -> list[float]:
        device_id = self.boards.spec_of(board).device_id
        rows = self._store.measurements(device_id, onnx_hash=digest)
        found = [row.measurement for row in rows if row.measurement.state.get("role") == DRIFT_ROLE]
        return [measurement.latency_ms.median for measurement in found[-REPEATS:]]


def _is_due(record: BoardRecord) -> bool:
    if record.out_at is not None:
        return False
    return record.compared_at is None or utc_now() - record.compared_at > timedelta(seconds=DRIFT_AGE_S)


def _ratio_of(record: BoardRecord) -> BoardRatio:
    return BoardRatio(record.name, record.ratio or 1.0, record.ratio_interval)


def digest_of(model: "onnx.ModelProto") -> str:
    """Name a model by the SHA-256 of its file."""
    return hashlib.sha256(model.SerializeToString()).hexdigest()


def _slim(found: Measurement, state: dict[str, str]) -> Measurement:
    return replace(found, breakdown=(), state=state)
