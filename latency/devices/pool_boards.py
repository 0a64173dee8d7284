"""The boards of a pool as one party uses them: opened once, each under a lease, examined before they come back."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.latency.devices.finding import Finding
from nuwa_search.store.clock import utc_now
from nuwa_search.store.owners import HEARTBEAT_S
from nuwa_search.store.records import BoardLease, BoardRecord

if TYPE_CHECKING:
    import onnx

    from nuwa_search.store.store import Store

logger = logging.getLogger(__name__)

RECHECK_S = 300.0
"""Pause between two looks at a board that is out: chosen, one that is gone costs a connection's time-out."""
_LOOKS = 10  # times within that pause that the database is asked whether a look is due
OpensBoard = Callable[[DeviceSpec], Device]


@runtime_checkable
class Examines(Protocol):
    """A device that can say what is wrong with it."""

    def doctor(self) -> list[Finding]:
        """Check everything, and give the command that mends each fault."""
        ...


class PoolBoards:
    """Opens boards when they are first lent, and keeps them open; beats while it lives.

    Threads: any; a board is touched by the thread that holds its lease alone. Use it as a context manager.

    Args:
        pool: Name of the pool.
        store: The database.
        find: Finds the spec of a board by its name.
        open_board: Opens it.
        probe: Small model that a board without a doctor of its own is examined by.
        beat_s: Seconds between two signs of life.
        recheck_s: Seconds between two looks at a board that is out.
    """

    def __init__(
        self,
        pool: str,
        store: "Store",
        *,
        find: Callable[[str], DeviceSpec],
        open_board: OpensBoard,
        probe: "onnx.ModelProto",
        beat_s: float = HEARTBEAT_S,
        recheck_s: float = RECHECK_S,
    ) -> None:
        self.pool = pool
        self.party = secrets.token_hex(16)
        self._store = store
        self._find = find
        self._open = open_board
        self._probe = probe
        self._beat_s = beat_s
        self._recheck_s = recheck_s
        self._look_at = 0.0
        self._opened: dict[str, tuple[Device, ExitStack]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beats: threading.Thread | None = None

    def records(self) -> tuple[BoardRecord, ...]:
        """Read the boards of the pool."""
        return self._store.boards(self.pool)

    def lend(self, *, among: Collection[str] | None = None) -> BoardLease | None:
        """Lend a board that takes part; None where none is free, or others come first."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._recheck_s / _LOOKS
            self.look_again(at_most=1)
        return self._started(self._store.lease_board(self.pool, party=self.party, among=among))

    def device(self, lease: BoardLease) -> Device:
        """Return the board that was lent, opened.

        Raises:
            NuwaError: If no device has its name any more.
            OutsideError: If it cannot be reached.
        """
        with self._lock:
            known = self._opened.get(lease.board)
        if known is not None:
            return known[0]
        device, stack = self._open(self._find(lease.board)), ExitStack()
        if isinstance(device, AbstractContextManager):
            stack.enter_context(device)
        with self._lock:
            self._opened[lease.board] = device, stack
        return device

    def spec_of(self, board: str) -> DeviceSpec:
        """Return the spec of a board.

        Raises:
            NuwaError: If no device has its name any more.
        """
        return self._find(board)

    def names_opened(self) -> tuple[str, ...]:
        """List the boards that were opened here."""
        with self._lock:
            return tuple(sorted(self._opened))

    def give_back(self, lease: BoardLease) -> bool:
        """Give a board back; False where it was lent to somebody else meanwhile."""
        return self._store.release_board(lease)

    def judge(self, lease: BoardLease, error: NuwaError) -> bool:
        """Examine a board that failed: it leaves the pool with the reason where a fault is found; else it stays.

        Returns:
            Whether it left.
        """
        fault = _fault(self.examine(lease))
        if fault is None:
            self._store.release_board(lease)
            return False
        self._close_one(lease.board)
        reason = error.message if error.message in fault else f"{error.message}; {fault}"
        self._store.put_out(lease, reason)
        return True

    def examine(self, lease: BoardLease) -> list[Finding]:
        """Ask the doctor of a board that was lent; one without a doctor runs a small net instead."""
        try:
            device = self.device(lease)
            if isinstance(device, Examines):
                return device.doctor()
            device.measure(self._probe)
        except NuwaError as error:
            return [Finding("runs a reference net", is_ok=False, found=error.message, mend=error.hint)]
        return [Finding("runs a reference net", is_ok=True, found=device.spec.name)]

    def examine_all(self) -> dict[str, list[Finding]]:
        """Examine every board of the pool that nobody uses: it leaves, or comes back, by what is found."""
        found: dict[str, list[Finding]] = {}
        for record in self.records():
            is_out = record.out_at is not None
            lease = self._started(
                self._store.lease_board(self.pool, party=self.party, among=(record.name,), is_out=is_out)
            )
            if lease is None:
                found[record.name] = [Finding("in use", is_ok=True, found="somebody measures on it now")]
                continue
            found[record.name] = self.examine(lease)
            self._settle(lease, found[record.name])
        return found

    def close(self) -> None:
        """Close the boards and stop beating; leases that are still held run out."""
        self._ended.set()
        if self._beats is not None:
            self._beats.join()
        for name in self.names_opened():
            self._close_one(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def look_again(self, *, at_most: int | None = None) -> bool:
        """Examine boards that are out and were not looked at lately; one comes back where nothing is wrong any more.

        Args:
            at_most: So many of them; None for all.

        Returns:
            Whether one came back.
        """
        due = utc_now() - timedelta(seconds=self._recheck_s)
        names = [r.name for r in self.records() if r.out_at is not None and (r.examined_at or r.out_at) <= due]
        came_back = False
        for name in names[:at_most]:
            lease = self._started(self._store.lease_board(self.pool, party=self.party, among=(name,), is_out=True))
            if lease is not None:
                came_back |= self._settle(lease, self.examine(lease))
        return came_back

    def _settle(self, lease: BoardLease, findings: Sequence[Finding]) -> bool:
        fault = _fault(findings)
        if fault is None:
            return self._store.take_back(lease)
        self._close_one(lease.board)  # a broken connection is made anew the next time
        self._store.put_out(lease, fault)
        return False

    def _started(self, lease: BoardLease | None) -> BoardLease | None:
        if lease is not None:
            with self._lock:
                if self._beats is None:
                    self._beats = threading.Thread(target=self._beat, name="nuwa-pool-beat", daemon=True)
                    self._beats.start()
        return lease

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                self._store.beat_boards(self.party)
            except NuwaError as error:  # the database may come back before the lease runs out
                logger.warning("no sign of life to the boards of %s: %s", self.pool, error.message)

    def _close_one(self, board: str) -> None:
        with self._lock:
            known = self._opened.pop(board, None)
        if known is not None:
            try:
                known[1].close()
            except OutsideError as error:
                logger.warning("board %s: %s", board, error.message)


def _fault(findings: Sequence[Finding]) -> str | None:
    faults = [f"{finding.name}: {finding.found}" for finding in findings if not finding.is_ok]
    return "; ".join(faults) or None
