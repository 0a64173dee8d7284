"""Which versions of the schema there are; they are known without SQLAlchemy."""

VERSION_TABLE = "nuwa_alembic_version"
"""Optuna keeps its own ``alembic_version`` in the same database."""
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Oldest first; one file in ``migrations/versions`` each."""
HEAD = REVISIONS[-1]
