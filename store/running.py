"""What is at work on a database right now."""

from sqlalchemy import select

from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.owners import is_owner_alive
from nuwa_search.store.tables import JobRow, SearchRow


def running_work(database: Database) -> tuple[str, ...]:
    """Name the searches and jobs whose owner is alive, as ``search NAME`` and ``job ID``."""
    owner = ("owner_host", "owner_pid", "heartbeat_at")
    searches = select(SearchRow.study.label("name"), *(getattr(SearchRow, column) for column in owner))
    jobs = select(JobRow.job_id.label("name"), *(getattr(JobRow, column) for column in owner))
    now = utc_now()
    with database.read() as connection:
        return tuple(
            f"{noun} {row.name}"
            for noun, query in (
                ("search", searches.where(SearchRow.state == "running").order_by(SearchRow.pk)),
                ("job", jobs.where(JobRow.state == "running").order_by(JobRow.pk)),
            )
            for row in connection.execute(query)
            if is_owner_alive(host=row.owner_host, pid=row.owner_pid, heartbeat_at=row.heartbeat_at, now=now)
        )
