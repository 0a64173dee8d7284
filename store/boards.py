"""Boards of pools: leases of them, who waits, why one is out, and how far they are from each other.

A board is lent by one conditional UPDATE, as a job is claimed, so that of several searches exactly one gets it on
SQLite and on PostgreSQL alike. A holder that dies loses it as soon as others notice: at once on its own host, after
the lease elsewhere (``nuwa_search.store.owners``).
"""

import os
import socket
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.records import BoardLease, BoardRatio, BoardRecord
from nuwa_search.store.rows import upsert
from nuwa_search.store.tables import BoardRow, BoardWaitRow

WAIT_S = 5.0
"""Who waits and has not asked again for so long is gone, or busy with a board it got; it waits anew when it asks."""
_BEAT_S = 1.0
_LEASE = (
    *(BoardRow.pk, BoardRow.name, BoardRow.out_at, BoardRow.leased_at, BoardRow.party),
    *(BoardRow.owner_host, BoardRow.owner_pid, BoardRow.owner_token, BoardRow.heartbeat_at),
)
_FREED: dict[str, Any] = {"party": None, "owner_host": None, "owner_pid": None, "owner_token": None}


@dataclass(frozen=True)
class _Lent:
    """What a pool looks like to somebody who asks for a board."""

    free: Sequence[Any]
    held: Counter[str]
    waits: dict[str, Any]

    def ahead_of(self, party: str, now: datetime) -> int:
        """Count those who wait and come first: who holds fewer boards, and of equals who asked earlier."""
        mine = self.waits.get(party)
        own = (self.held[party], now if mine is None else mine.since)
        late = now - timedelta(seconds=WAIT_S)
        others = (row for row in self.waits.values() if row.party != party and row.heartbeat_at >= late)
        return sum((self.held[row.party], row.since) < own for row in others)


class BoardMethods(Database):
    """The store's methods about the boards of pools."""

    def save_pool(self, pool: str, boards: Sequence[str]) -> None:
        """Make a pool of these boards; those that were in it and are not named are let go.

        Raises:
            NuwaError: If a board belongs to another pool.
        """
        now = utc_now()
        with self.write() as connection:
            query = select(BoardRow.name, BoardRow.pool).where(BoardRow.name.in_(boards), BoardRow.pool != pool)
            for name, other in connection.execute(query):
                raise NuwaError(f"board {name} belongs to the pool {other}", hint=f"nuwa device rm {other} frees it")
            connection.execute(delete(BoardRow).where(BoardRow.pool == pool, BoardRow.name.not_in(boards)))
            rows = [{"name": name, "pool": pool, "num_leases": 0, "created_at": now} for name in boards]
            upsert(connection, BoardRow, rows, key=["name"])

    def forget_pool(self, pool: str) -> None:
        """Let the boards of a pool go; their figures and its own stay."""
        with self.write() as connection:
            for table in (BoardRow, BoardWaitRow):
                connection.execute(delete(table).where(table.pool == pool))

    def boards(self, pool: str | None = None) -> tuple[BoardRecord, ...]:
        """Read the boards of a pool, or of all, by pool and name."""
        query = select(BoardRow.__table__).order_by(BoardRow.pool, BoardRow.name)
        if pool is not None:
            query = query.where(BoardRow.pool == pool)
        now = utc_now()
        with self.read() as connection:
            return tuple(_record(row, now) for row in connection.execute(query))

    def lease_board(
        self, pool: str, *, party: str, among: Collection[str] | None = None, is_out: bool = False
    ) -> BoardLease | None:
        """Lend a board of a pool, the one that was lent longest ago; None where none is to be had now.

        Those who wait are served evenly: a board that is free goes to who holds the fewest, of equals to who asked
        first. Ask again within ``WAIT_S`` to keep the place.

        Args:
            pool: Of it.
            party: Who asks; all leases of one party count together.
            among: Only one of these; None for any. Who names boards stands in no line.
            is_out: Of the boards that are out, to examine them, instead of those that take part.
        """
        now = utc_now()
        with self.read() as connection:
            lent = _look(connection, pool, party, among=among, is_out=is_out)
        stands_in_line = among is None and not is_out
        ahead = lent.ahead_of(party, now) if stands_in_line else 0
        for row in lent.free[: max(0, len(lent.free) - ahead)]:
            lease = BoardLease(row.name, pool, party, uuid.uuid4().hex)
            if self._take(row, lease, now=now, leaves_line=party in lent.waits):
                return lease
        mine = lent.waits.get(party)
        is_fresh = mine is not None and now - mine.heartbeat_at < timedelta(seconds=_BEAT_S)
        if stands_in_line and not is_fresh:
            self._wait(pool, party, since=now if mine is None or _is_late(mine, now) else mine.since, now=now)
        return None

    def beat_boards(self, party: str) -> int:
        """Show that a party lives, at least every ``HEARTBEAT_S`` seconds; return how many boards it holds."""
        with self.write() as connection:
            beaten = update(BoardRow).where(BoardRow.party == party).values(heartbeat_at=utc_now())
            return int(connection.execute(beaten).rowcount)

    def release_board(self, lease: BoardLease) -> bool:
        """Give a board back; False where it was lent to somebody else meanwhile, which may spoil a measurement."""
        with self.write() as connection:
            return bool(connection.execute(update(BoardRow).where(*_is(lease)).values(_FREED)).rowcount)

    def put_out(self, lease: BoardLease, reason: str) -> bool:
        """Give a board back and take it out of its pool; False where the lease was lost, which changes nothing."""
        now = utc_now()
        values: dict[str, Any] = {**_FREED, "out_reason": reason, "examined_at": now}
        values["out_at"] = func.coalesce(BoardRow.out_at, now)
        with self.write() as connection:
            return bool(connection.execute(update(BoardRow).where(*_is(lease)).values(values)).rowcount)

    def take_back(self, lease: BoardLease) -> bool:
        """Give a board back that takes part again; False where the lease was lost, which changes nothing."""
        values = {**_FREED, "out_reason": None, "out_at": None, "examined_at": utc_now()}
        with self.write() as connection:
            return bool(connection.execute(update(BoardRow).where(*_is(lease)).values(values)).rowcount)

    def save_ratios(self, pool: str, ratios: Sequence[BoardRatio], *, compared: Collection[str]) -> None:
        """Store how far boards are from the median of their pool.

        Args:
            pool: Of them.
            ratios: Of each board that has figures.
            compared: Boards whose figures were taken just now.
        """
        now = utc_now()
        with self.write() as connection:
            for found in sorted(ratios, key=lambda ratio: ratio.board):
                low, high = found.interval or (None, None)
                values: dict[str, Any] = {"ratio": found.ratio, "ratio_low": low, "ratio_high": high}
                if found.board in compared:
                    values["compared_at"] = now
                whose = BoardRow.name == found.board, BoardRow.pool == pool
                connection.execute(update(BoardRow).where(*whose).values(values))

    def _take(self, row: Any, lease: BoardLease, *, now: datetime, leaves_line: bool) -> bool:
        values = {
            "party": lease.party,
            "owner_host": socket.gethostname(),
            "owner_pid": os.getpid(),
            "owner_token": lease.token,
            "heartbeat_at": now,
            "leased_at": now,
            "num_leases": BoardRow.num_leases + 1,
        }
        is_as_seen = (
            BoardRow.pk == row.pk,
            BoardRow.pool == lease.pool,
            BoardRow.owner_token.is_not_distinct_from(row.owner_token),
            BoardRow.out_at.is_not_distinct_from(row.out_at),
        )
        with self.write() as connection:
            if not connection.execute(update(BoardRow).where(*is_as_seen).values(values)).rowcount:
                return False  # somebody else was faster
            if leaves_line:
                own = BoardWaitRow.pool == lease.pool, BoardWaitRow.party == lease.party
                connection.execute(delete(BoardWaitRow).where(*own))
        return True

    def _wait(self, pool: str, party: str, *, since: datetime, now: datetime) -> None:
        row = {"pool": pool, "party": party, "since": since, "heartbeat_at": now}
        gone = BoardWaitRow.heartbeat_at < now - timedelta(seconds=10 * WAIT_S)
        with self.write() as connection:
            connection.execute(delete(BoardWaitRow).where(BoardWaitRow.pool == pool, gone))
            upsert(connection, BoardWaitRow, [row], key=["pool", "party"], update=["since", "heartbeat_at"])


def _look(connection: Connection, pool: str, party: str, *, among: Collection[str] | None, is_out: bool) -> _Lent:
    """Read what a question needs: who waits beside the asking party counts only where a board is free."""
    now = utc_now()
    rows = connection.execute(select(*_LEASE).where(BoardRow.pool == pool)).all()
    lent = {row.pk: row.party for row in rows if _is_lent(row, now)}
    free = [
        row
        for row in rows
        if row.pk not in lent and (row.out_at is not None) == is_out and (among is None or row.name in among)
    ]
    free.sort(key=lambda row: (row.leased_at is not None, row.leased_at or now, row.name))
    waits = select(BoardWaitRow.party, BoardWaitRow.since, BoardWaitRow.heartbeat_at).where(BoardWaitRow.pool == pool)
    late = now - timedelta(seconds=WAIT_S)
    waits = (
        waits.where(or_(BoardWaitRow.party == party, BoardWaitRow.heartbeat_at >= late))
        if free
        else waits.where(BoardWaitRow.party == party)
    )
    return _Lent(free, Counter(lent.values()), {row.party: row for row in connection.execute(waits)})


def _is_lent(row: Any, now: datetime) -> bool:
    return row.owner_token is not None and is_owner_alive(
        host=row.owner_host, pid=row.owner_pid, heartbeat_at=row.heartbeat_at, now=now
    )


def _is_late(row: Any, now: datetime) -> bool:
    return bool(row.heartbeat_at < now - timedelta(seconds=WAIT_S))


def _is(lease: BoardLease) -> tuple[Any, ...]:
    return BoardRow.name == lease.board, BoardRow.owner_token == lease.token


def _record(row: Any, now: datetime) -> BoardRecord:
    return BoardRecord(
        name=row.name,
        pool=row.pool,
        ratio=row.ratio,
        ratio_interval=None if row.ratio_low is None else (row.ratio_low, row.ratio_high),
        compared_at=row.compared_at,
        out_reason=row.out_reason,
        out_at=row.out_at,
        examined_at=row.examined_at,
        num_leases=row.num_leases,
        leased_at=row.leased_at,
        is_leased=_is_lent(row, now),
    )
