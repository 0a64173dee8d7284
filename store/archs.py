"""Archs in the database."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from nuwa_search.core.arch import Arch, arch_from_dict, dict_from_arch
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.database import Database
from nuwa_search.store.rows import find_pks, upsert
from nuwa_search.store.tables import ArchRow


def insert_archs(connection: Connection, archs: Iterable[Arch]) -> dict[str, int]:
    """Store the shapes that are new; return ``arch_id`` -> key for all of them."""
    by_id = {arch.arch_id: arch for arch in archs}
    known = find_pks(connection, ArchRow.pk, ArchRow.arch_id, by_id)
    rows: list[dict[str, Any]] = [
        {
            "arch_id": arch_id,
            "content": dict_from_arch(arch.compact()),
            "macs": count_macs(arch),
            "params": count_params(arch),
        }
        for arch_id, arch in by_id.items()
        if arch_id not in known
    ]
    upsert(connection, ArchRow, rows, key=["arch_id"])
    return known | find_pks(connection, ArchRow.pk, ArchRow.arch_id, (row["arch_id"] for row in rows))


class ArchMethods(Database):
    """The store's methods about archs."""

    def record_archs(self, archs: Iterable[Arch]) -> None:
        """Store shapes; those that are there already stay as they are."""
        with self.write() as connection:
            insert_archs(connection, archs)

    def load_arch(self, arch_id: str) -> Arch:
        """Read a shape (without entries for blocks that are gone).

        Raises:
            NuwaError: If there is none with that id.
        """
        with self.read() as connection:
            content = connection.execute(select(ArchRow.content).where(ArchRow.arch_id == arch_id)).scalar()
        if content is None:
            raise NuwaError(
                f"the database knows no arch {arch_id!r}", hint="nuwa query lists subnets with their arch ids"
            )
        return arch_from_dict(content)
