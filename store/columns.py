"""Column types shared by all tables."""

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Integer, MetaData, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, mapped_column

from nuwa_search.core.device import Provenance

# SQLite only numbers rows by itself in a column declared INTEGER.
BigInt = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment; aware on the Python side, UTC in the database whatever the server's time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect  # what a driver returns says itself whether it is aware
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


JsonDict = dict[str, Any]

Pk = Annotated[int, mapped_column(BigInt, primary_key=True)]
Key = Annotated[str, mapped_column(String(64))]
Origin = Annotated[Provenance, mapped_column(String)]


class StoreTable(DeclarativeBase):
    """Parent of all tables; constraint names are fixed so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        JsonDict: JSON,
        list[str]: JSON,
        datetime: UtcDateTime,
    }


def reference(target: str) -> ForeignKey:
    """Point at ``table.column``; rows that are pointed at cannot be deleted."""
    return ForeignKey(target, ondelete="RESTRICT")
