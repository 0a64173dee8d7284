"""Refuse to go on with a study whose base or images are others now: scores of two would be mixed."""

from nuwa_search.core.base_identity import said_difference
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.job.inputs import Sources
from nuwa_search.store.store import Store


def require_sources_of(sources: Sources, study: str, store: Store) -> None:
    """Check that base and task are those that a study began with, if there is such a study.

    Raises:
        NuwaError: If one of them is another; the message names it.
    """
    earlier = store.search(study)
    if earlier is None:
        return
    base, task = sources.base, sources.task
    hint = "put back what it was started with, or start another study with --study"
    if earlier.base_id is not None and earlier.base_id != base.base_id:
        raise NuwaError(
            f"study {study!r} cuts base {earlier.base_id}, and {base.name!r} is {base.base_id} now: "
            f"{said_difference(earlier.base_id, base.base_id)}",
            hint=hint,
        )
    if earlier.task_id not in (None, task.task_id):
        raise NuwaError(
            f"study {study!r} scores on task {earlier.task_id}, and the images of {task.data} make {task.task_id} now: "
            "they were changed",
            hint=hint,
        )
