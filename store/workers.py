"""Worker processes and their signs of life."""

from datetime import timedelta

from sqlalchemy import delete, func, select

from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.owners import LEASE_S
from nuwa_search.store.rows import upsert
from nuwa_search.store.tables import WorkerRow


class WorkerMethods(Database):
    """The store's methods about workers."""

    def beat_worker(self, worker_id: str, *, host: str, pid: int) -> None:
        """Record a worker, or that it is still there."""
        now = utc_now()
        values = {"worker_id": worker_id, "host": host, "pid": pid, "started_at": now, "heartbeat_at": now}
        with self.write() as connection:
            upsert(connection, WorkerRow, [values], key=["worker_id"], update=["heartbeat_at"])

    def forget_worker(self, worker_id: str) -> None:
        """Remove a worker that ends, and those that were silent for a day."""
        with self.write() as connection:
            connection.execute(delete(WorkerRow).where(WorkerRow.worker_id == worker_id))
            connection.execute(delete(WorkerRow).where(WorkerRow.heartbeat_at < utc_now() - timedelta(days=1)))

    def count_workers(self) -> int:
        """Count the workers that showed a sign of life within the lease."""
        query = select(func.count()).where(WorkerRow.heartbeat_at >= utc_now() - timedelta(seconds=LEASE_S))
        with self.read() as connection:
            return connection.execute(query).scalar_one()
