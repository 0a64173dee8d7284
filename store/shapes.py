"""The nets that one shape stands for: an arch id forgets which blocks of which base are gone."""

from dataclasses import dataclass

from sqlalchemy import select

from nuwa_search.store.database import Database
from nuwa_search.store.tables import ArchRow, BaseNetRow, SubnetRow


@dataclass(frozen=True)
class NetOfShape:
    """A subnet of a shape, and what the shape does not say of it: its base, and the blocks it kept (``1``)."""

    subnet_id: str
    base: str
    base_id: str
    kept_blocks: str


def find_nets(database: Database, arch_id: str) -> list[NetOfShape]:
    """List the subnets of a shape, oldest first."""
    query = (
        select(SubnetRow.subnet_id, BaseNetRow.name, BaseNetRow.base_id, SubnetRow.kept_blocks)
        .select_from(SubnetRow)
        .join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
        .join(BaseNetRow, BaseNetRow.pk == SubnetRow.base_pk)
        .where(ArchRow.arch_id == arch_id)
        .order_by(SubnetRow.pk)
    )
    with database.read() as connection:
        return [NetOfShape(*row) for row in connection.execute(query)]
