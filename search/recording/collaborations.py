"""Put a decomposition into the database."""

from nuwa_search.search.collaborate.answer import Decomposed
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.store.collaborations import CollaborationRecord
from nuwa_search.store.store import Store


def record_collaboration(store: Store, inputs: Inputs, found: Decomposed) -> None:
    """Store a decomposition's answer in place of an earlier one of its name."""
    chosen, rival = found.modes[0].figures, found.rival.rival
    store.record_collaboration(
        CollaborationRecord(
            study=found.study,
            base_id=inputs.base.base_id,
            task_id=inputs.task.task_id,
            devices=tuple(board.spec.name for board in found.division.boards),
            budget_ms=found.budget_ms,
            shipped=found.shipped,
            mode=chosen.mode,
            predicted_p50_ms=chosen.predicted_p50_ms,
            predicted_p95_ms=chosen.predicted_p95_ms,
            predicted_mean_ms=chosen.predicted_mean_ms,
            metric=found.metric,
            accuracy=chosen.accuracy or 0.0,
            num_images=chosen.num_images,
            rival_accuracy=rival.accuracy,
            rival_latency_ms=rival.predicted_ms,
            provenance=found.collaboration.parts[0].provenance,
            path=str(found.folder),
            content=found.to_json(),
        )
    )
