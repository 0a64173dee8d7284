"""Rows of an answer as a value: a sequence of mappings that becomes a pandas frame where one is wanted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table(Sequence[Row]):
    """What was found.

    Args:
        kind: Of what: ``subnets``, ``budgets``, ``latencies``, ``studies``, ``devices``, ``comparisons``,
            ``certificates``, ``bundles``, ``SQL`` or ``front``.
        rows: As JSON has them; an entry may hold further rows, as an explained budget does.
        flat: The same for tables, files and frames: one value a cell.
        columns: Of ``flat``, in order; known also where there is no row.
        is_truncated: Whether there were more rows than were read.
    """

    kind: str
    rows: Sequence[Row]
    flat: Sequence[Row]
    columns: Sequence[str]
    is_truncated: bool = False

    def to_frame(self) -> "pd.DataFrame":
        """Make a pandas frame with the columns of ``columns``; the first call imports pandas."""
        import pandas as pd

        return pd.DataFrame(list(self.flat), columns=list(self.columns))

    def to_json(self) -> dict[str, Any]:
        """Render the `nuwa.query/1` answer."""
        return {"schema": "nuwa.query/1", "rows": [dict(row) for row in self.rows], "count": len(self.rows)}

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _repr_html_(self) -> str:
        """Show a notebook the rows as a frame."""
        return str(self.to_frame().to_html(max_rows=20))
