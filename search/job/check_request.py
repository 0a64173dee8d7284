"""Check what a search starts from, without computing anything."""

from pathlib import Path

from nuwa_search.deploy.ship import check_bundle_dir
from nuwa_search.search.executor.opened import require_executor
from nuwa_search.search.job.inputs import Sources, open_sources
from nuwa_search.search.job.moved_on import require_origin
from nuwa_search.search.request import SearchRequest
from nuwa_search.store.same_device import require_predictor_of
from nuwa_search.store.store import Store


def check_request(request: SearchRequest, store: Store, *, study: str) -> Sources:
    """Load the base, read the data's index, and look up device, classes and predictor.

    Raises:
        NuwaError: If a name is unknown, a file is missing or corrupt, the predictor is of another device, or the
            bundle's folder cannot be written.
    """
    require_executor(request.executor)
    require_origin(request, store)
    check_bundle_dir(Path(request.bundle_dir), study=study)
    sources = open_sources(request, store)
    if request.predictor_id is not None:
        record = store.load_predictor(request.predictor_id)
        owners = [spec for spec in sources.devices if spec.device_id == record.device_id]
        require_predictor_of(owners[0] if owners else sources.device, record, store)
    return sources
