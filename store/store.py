"""Open the search database."""

from nuwa_search.store.archs import ArchMethods
from nuwa_search.store.boards import BoardMethods
from nuwa_search.store.bundles import Bundles
from nuwa_search.store.collaborations import CollaborationMethods, Collaborations
from nuwa_search.store.database import engine_from_url, url_from_text
from nuwa_search.store.deployments import DeploymentMethods
from nuwa_search.store.devices import DeviceMethods
from nuwa_search.store.events import EventMethods
from nuwa_search.store.jobs import JobMethods
from nuwa_search.store.lists import Certificates, Latencies, Studies
from nuwa_search.store.luts import LutMethods
from nuwa_search.store.measurements import MeasurementMethods
from nuwa_search.store.predictors import PredictorMethods
from nuwa_search.store.query import Subnets
from nuwa_search.store.schema import ensure_schema
from nuwa_search.store.searches import SearchMethods
from nuwa_search.store.subnets import SubnetMethods
from nuwa_search.store.tasks import TaskMethods
from nuwa_search.store.trials import TrialMethods
from nuwa_search.store.workers import WorkerMethods


class Store(
    DeviceMethods,
    BoardMethods,
    LutMethods,
    MeasurementMethods,
    PredictorMethods,
    ArchMethods,
    TaskMethods,
    SubnetMethods,
    DeploymentMethods,
    CollaborationMethods,
    SearchMethods,
    EventMethods,
    JobMethods,
    WorkerMethods,
    TrialMethods,
):
    """The search database; its methods are grouped by noun in the modules of this package.

    Threads: any, and other processes beside; each method is one transaction. Ownership: who opened it closes it, as a
    context manager; answers are values. Guarantees: ``nuwa_search.testing.store``, on every kind of database.
    """

    @property
    def subnets(self) -> Subnets:
        """What is known of subnets on each device."""
        return Subnets(self)

    @property
    def latencies(self) -> Latencies:
        """Latencies of whole models, measured and predicted."""
        return Latencies(self)

    @property
    def studies(self) -> Studies:
        """Searches, with their settings and answers."""
        return Studies(self)

    @property
    def bundles(self) -> Bundles:
        """Subnets that were written as bundles."""
        return Bundles(self)

    @property
    def certificates(self) -> Certificates:
        """Certificates, with the content of their files."""
        return Certificates(self)

    @property
    def collaborations(self) -> Collaborations:
        """Decompositions over several devices, with their answers."""
        return Collaborations(self)


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
