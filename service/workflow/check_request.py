"""Check what a search starts from, without computing anything."""

from pathlib import Path

from nuwa_search.core.base import load_base
from nuwa_search.core.budget import require_statistic
from nuwa_search.search.request import SearchRequest
from nuwa_search.service.workflow.devices import find_device
from nuwa_search.service.workflow.same_device import require_predictor_of
from nuwa_search.service.workflow.ship import check_bundle_dir
from nuwa_search.service.workflow.sources import open_task
from nuwa_search.store.store import Store


def check_request(request: SearchRequest, store: Store, *, study: str) -> tuple[str, ...]:
    """Load the base, read the data's index, and look up device, classes and predictor.

    Returns:
        What of the images would be left out, in sentences.

    Raises:
        NuwaError: If a name is unknown, a file is missing or corrupt, the predictor is of another device, or the
            bundle's folder cannot be written.
    """
    check_bundle_dir(Path(request.bundle_dir), study=study)
    spec = find_device(request.device, store)
    require_statistic(request.budget_statistic, spec)
    base = load_base(request.base, img_size=request.img_size)
    task = open_task(
        base,
        data=request.data,
        label_column=request.label_column,
        classes=request.classes,
        seed=request.seed,
        metric=request.metric,
    )
    if request.predictor_id is not None:
        record = store.load_predictor(request.predictor_id)
        require_predictor_of(spec, record, store)
    return task.notes
