"""Bases and tasks in the database."""

import hashlib
import json
from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from nuwa_search.core.arch import arch_from_dict
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fold_name import fold
from nuwa_search.store.archs import insert_archs
from nuwa_search.store.bases import CALLED, called_at, find_bases, list_bases
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.records import BaseRecord, TaskRecord
from nuwa_search.store.rows import upsert
from nuwa_search.store.tables import ArchRow, BaseNetRow, TaskRow


def hash_classes(classes: Iterable[str]) -> str:
    """Hash a set of class names whatever their order: 16 hex digits of SHA-256."""
    text = json.dumps(sorted(set(classes)), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_classes_hash(connection: Connection, classes: Iterable[str]) -> str:
    """Return the stored classes that are meant: the same names, else those that differ in case, spaces, - and _ only.

    Returns:
        The hash of the set; where nothing is like it, that of the names as they are, which no task has.

    Raises:
        NuwaError: If no set has these names, and several have names like them.
    """
    wanted = list(classes)
    exact = hash_classes(wanted)
    if connection.execute(select(TaskRow.pk).where(TaskRow.classes_hash == exact).limit(1)).first() is not None:
        return exact
    rows = connection.execute(select(TaskRow.classes_hash, TaskRow.classes))
    known = {row.classes_hash: row.classes for row in rows}
    folded = sorted({fold(name) for name in wanted})
    alike = [found for found, names in known.items() if sorted({fold(name) for name in names}) == folded]
    if len(alike) > 1:
        sets = "; ".join(", ".join(known[found]) for found in alike)
        raise NuwaError(f"classes {', '.join(wanted)} are ambiguous: {sets}", hint="write them as they are stored")
    return alike[0] if alike else exact


class TaskMethods(Database):
    """The store's methods about bases and tasks."""

    def record_base(self, record: BaseRecord) -> None:
        """Store a base under the hash of its tensors; storing it again updates its info.

        It keeps the name it was stored by first, so that old rows go on reading as they did. ``info["called"]`` says
        when it was last called by each of its names, and it is found by all of them.
        """
        with self.write() as connection:
            pks = insert_archs(connection, [record.arch])
            now = utc_now()
            query = select(BaseNetRow.name, BaseNetRow.info, BaseNetRow.created_at)
            known = connection.execute(query.where(BaseNetRow.base_id == record.base_id)).first()
            called = {} if known is None else called_at(known.name, known.created_at, known.info)
            called[record.name] = now
            values = {
                "base_id": record.base_id,
                "name": record.name,
                "arch_pk": pks[record.arch.arch_id],
                "info": record.info | {CALLED: {name: when.isoformat() for name, when in called.items()}},
                "created_at": now,
            }
            upsert(connection, BaseNetRow, [values], key=["base_id"], update=["info"])

    def load_base(self, base_id: str) -> BaseRecord:
        """Read a base.

        Raises:
            NuwaError: If there is none with that id.
        """
        query = (
            select(BaseNetRow.base_id, BaseNetRow.name, ArchRow.content, BaseNetRow.info)
            .join(ArchRow, ArchRow.pk == BaseNetRow.arch_pk)
            .where(BaseNetRow.base_id == base_id)
        )
        with self.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NuwaError(f"the database knows no base {base_id!r}", hint="nuwa base ls")
        return BaseRecord(row.base_id, row.name, arch_from_dict(row.content), row.info)

    def base_names(self) -> tuple[str, ...]:
        """List all names that bases were called by."""
        with self.read() as connection:
            return tuple(sorted({name for base in list_bases(connection) for name in base.called}))

    def names_of_base(self, base_id: str) -> tuple[str, ...]:
        """List the names that one base was called by, its first one first."""
        with self.read() as connection:
            return tuple(name for base in list_bases(connection) if base.base_id == base_id for name in base.called)

    def base_ids(self, name: str) -> tuple[str, ...]:
        """List the ids of the bases that a name or id means or meant, the one it means now first."""
        with self.read() as connection:
            return tuple(base.base_id for base in find_bases(connection, name))

    def record_task(self, record: TaskRecord) -> None:
        """Store a task under its content hash; storing it again adds how to open it, where that was not known."""
        values = {
            "task_id": record.task_id,
            "data": record.data,
            "data_hash": record.data_hash,
            "classes": list(record.classes),
            "classes_hash": hash_classes(record.classes),
            "splits": record.splits,
            "search_split_seen_by_base": record.search_split_seen_by_base,
            "pipeline": record.pipeline,
            "source": record.source or None,
            "created_at": utc_now(),
        }
        with self.write() as connection:
            upsert(connection, TaskRow, [values], key=["task_id"])
            if record.source:
                is_unknown = (TaskRow.task_id == record.task_id, TaskRow.source.is_(None))
                connection.execute(update(TaskRow).where(*is_unknown).values(source=record.source))

    def load_task(self, task_id: str) -> TaskRecord:
        """Read a task.

        Raises:
            NuwaError: If there is none with that id.
        """
        with self.read() as connection:
            row = connection.execute(select(TaskRow.__table__).where(TaskRow.task_id == task_id)).first()
        if row is None:
            raise NuwaError(f"the database knows no task {task_id!r}", hint="nuwa query studies")
        return TaskRecord(
            task_id=row.task_id,
            data=row.data,
            data_hash=row.data_hash,
            classes=tuple(row.classes),
            splits=row.splits,
            search_split_seen_by_base=row.search_split_seen_by_base,
            pipeline=row.pipeline,
            source=row.source or {},
        )
