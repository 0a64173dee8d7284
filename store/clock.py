"""The one clock of the database: UTC with microseconds."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Say what time it is, in UTC and aware of it."""
    return datetime.now(UTC)
