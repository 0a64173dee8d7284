"""The one clock of the database: UTC with microseconds."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the UTC time, with its time zone."""
    return datetime.now(UTC)
