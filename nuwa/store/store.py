"""Open the search database."""

from nuwa.store.archs import ArchMethods
from nuwa.store.database import engine_from_url, url_from_text
from nuwa.store.deployments import DeploymentMethods
from nuwa.store.devices import DeviceMethods
from nuwa.store.events import EventMethods
from nuwa.store.jobs import JobMethods
from nuwa.store.luts import LutMethods
from nuwa.store.measurements import MeasurementMethods
from nuwa.store.predictors import PredictorMethods
from nuwa.store.schema import ensure_schema
from nuwa.store.searches import SearchMethods
from nuwa.store.subnets import SubnetMethods
from nuwa.store.tasks import TaskMethods
from nuwa.store.trials import TrialMethods
from nuwa.store.workers import WorkerMethods


class Store(
    DeviceMethods,
    LutMethods,
    MeasurementMethods,
    PredictorMethods,
    ArchMethods,
    TaskMethods,
    SubnetMethods,
    DeploymentMethods,
    SearchMethods,
    EventMethods,
    JobMethods,
    WorkerMethods,
    TrialMethods,
):
    """The search database; its methods are grouped by noun in the modules of this package."""


def open_store(url: str) -> Store:
    """Open a search database, creating or upgrading its tables where needed.

    Args:
        url: ``sqlite:///path``, ``postgresql://user@host/name``, or the path of a SQLite file.

    Raises:
        NuwaError: If the URL cannot be used, the file is no database, or it is from a newer version.
        OutsideError: If the server, disk or folder fails.
    """
    parsed = url_from_text(url)
    store = Store(parsed, engine_from_url(parsed))
    try:
        ensure_schema(store)
    except BaseException:
        store.close()
        raise
    return store
