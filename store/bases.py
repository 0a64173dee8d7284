"""What a base's name means: a base is held by its content, and its name may come to mean other weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from nuwa_search.store.records import JsonDict
from nuwa_search.store.tables import BaseNetRow

CALLED = "called"
"""Key of ``info``: the names a base was called by, each with the time it was last stored under it."""


@dataclass(frozen=True)
class NamedBase:
    """A base that is known.

    Args:
        pk: Its row.
        base_id: The hash of its tensors.
        called: Its names, the first it was stored by first, and when it was last stored by each.
    """

    pk: int
    base_id: str
    called: Mapping[str, datetime]


def called_at(name: str, created_at: datetime, info: JsonDict) -> dict[str, datetime]:
    """Read when a base was last stored by each of its names; rows of earlier versions know one name and one time."""
    later = {called: datetime.fromisoformat(when) for called, when in info.get(CALLED, {}).items()}
    return {name: created_at} | later


def list_bases(connection: Connection) -> list[NamedBase]:
    """List all bases, the first stored first."""
    query = select(BaseNetRow.pk, BaseNetRow.base_id, BaseNetRow.name, BaseNetRow.created_at, BaseNetRow.info)
    return [
        NamedBase(row.pk, row.base_id, called_at(row.name, row.created_at, row.info))
        for row in connection.execute(query.order_by(BaseNetRow.pk))
    ]


def find_bases(connection: Connection, wanted: str) -> list[NamedBase]:
    """List the bases that a name or an id means or meant, the one that was last stored so first."""
    bases = list_bases(connection)
    with_id = [base for base in bases if base.base_id == wanted]
    with_name = [base for base in bases if wanted in base.called]
    return with_id or sorted(with_name, key=lambda base: (base.called[wanted], base.pk), reverse=True)


def pk_of_base(connection: Connection, wanted: str) -> int | None:
    """Find the base that a name means now, or that has an id; None where there is none.

    A name that meant other weights before means those that were stored by it last: two bases are never taken for one.
    """
    found = find_bases(connection, wanted)
    return found[0].pk if found else None
