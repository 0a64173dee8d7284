"""The answer of ``nuwa query`` as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nuwa_search.service.cli.table_file import Rows


@dataclass(frozen=True)
class QueryAnswer:
    """What was found.

    Args:
        kind: A key of ``FILTERS``.
        rows: As ``--json`` gives them.
        flat: As tables and files give them.
        names: Columns of ``flat``.
        is_truncated: Whether there were more rows than were read.
    """

    kind: str
    rows: Rows
    flat: Rows
    names: Sequence[str]
    is_truncated: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The `nuwa.query/1` answer."""
        return {"schema": "nuwa.query/1", "rows": [dict(row) for row in self.rows], "count": len(self.rows)}
