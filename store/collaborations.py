"""Collaborations in the database: decompositions of a base over several devices."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from sqlalchemy import delete, insert

from nuwa_search.core.device import Provenance
from nuwa_search.core.metric import Metric
from nuwa_search.store.bases import find_bases
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import CollaborationFound
from nuwa_search.store.lists import rows_of
from nuwa_search.store.records import JsonDict
from nuwa_search.store.rows import need_pk
from nuwa_search.store.tables import BaseNetRow, CollaborationRow, TaskRow
from nuwa_search.store.tasks import find_classes_hash


@dataclass(frozen=True)
class CollaborationRecord:
    """What came of a decomposition.

    Args:
        study: Its name; one of that name is replaced.
        base_id: Of what was decomposed.
        task_id: Of its classes and images.
        devices: Names, each as often as it takes part.
        budget_ms: End to end.
        shipped: ``collaboration`` or ``rival``.
        mode: The way to use the boards that was chosen.
        predicted_p50_ms: Of it, end to end.
        predicted_p95_ms: The same.
        predicted_mean_ms: The same.
        metric: Which accuracy counts: ``top1`` of images, or ``miou`` where pixels have classes.
        accuracy: Of it, on the test split.
        num_images: Of that split.
        rival_accuracy: Of the best single subnet on one board, on the same images.
        rival_latency_ms: Of it.
        provenance: Of the sub-models' latencies.
        path: Folder of the collaboration.
        content: The ``nuwa.decompose/1`` document.
    """

    study: str
    base_id: str
    task_id: str
    devices: tuple[str, ...]
    budget_ms: float
    shipped: str
    mode: str
    predicted_p50_ms: float
    predicted_p95_ms: float
    predicted_mean_ms: float
    metric: Metric
    accuracy: float
    num_images: int
    rival_accuracy: float
    rival_latency_ms: float
    provenance: Provenance
    path: str
    content: JsonDict


class CollaborationMethods(Database):
    """What came of decompositions."""

    def record_collaboration(self, record: CollaborationRecord) -> None:
        """Store a collaboration in place of an earlier one of its name.

        Raises:
            NuwaError: If its base or task is not recorded.
        """
        values = asdict(record) | {"devices": list(record.devices), "created_at": utc_now()}
        base_id, task_id = values.pop("base_id"), values.pop("task_id")
        with self.write() as connection:
            values["base_pk"] = need_pk(connection, BaseNetRow.pk, BaseNetRow.base_id, base_id, noun="base")
            values["task_pk"] = need_pk(connection, TaskRow.pk, TaskRow.task_id, task_id, noun="task")
            connection.execute(delete(CollaborationRow).where(CollaborationRow.study == record.study))
            connection.execute(insert(CollaborationRow).values(values))


@dataclass(frozen=True)
class Collaborations:
    """Decompositions with their answers: ``store.collaborations``.

    Args:
        database: The store.
    """

    database: Database

    def find(
        self,
        *,
        study: str | None = None,
        device: str | None = None,
        classes: Sequence[str] | None = None,
        base: str | None = None,
        max_ms: float | None = None,
        limit: int | None = None,
    ) -> list[CollaborationFound]:
        """List collaborations, newest first.

        Args:
            study: Only this one.
            device: Name of a device that takes part.
            classes: Exactly these classes, in any order.
            base: Id of a base, or a name: of several that were called so, the one stored last.
            max_ms: Largest predicted median in milliseconds.
            limit: At most so many rows; None for all.
        """
        conditions, wanted = [], dict[str, str | float | None]()
        with self.database.read() as connection:
            if classes is not None:
                conditions.append("task_id IN (SELECT task_id FROM nuwa_tasks WHERE classes_hash = :classes)")
                wanted["classes"] = find_classes_hash(connection, classes)
            if base is not None:
                conditions.append("base_id = :base")
                wanted["base"] = next((known.base_id for known in find_bases(connection, base)), base)
        for name, condition, value in (
            ("study", "study = :study", study),
            ("max_ms", "predicted_p50_ms <= :max_ms", max_ms),
        ):
            if value is not None:
                conditions.append(condition)
                wanted[name] = value
        # the devices of one are a short list: it is looked at here, as both databases write JSON in their own way
        found = rows_of(
            self.database, "v_collaborations", conditions, wanted, "created_at DESC", None if device else limit
        )
        kept = [row for row in found if device is None or device in row["devices"]]
        return cast("list[CollaborationFound]", kept[:limit])
