"""A search database opened for work: the verbs of the command line as methods."""

from nuwa_search.lab.verbs_ask import AskingVerbs
from nuwa_search.lab.verbs_bundle import BundleVerbs
from nuwa_search.lab.verbs_search import SearchingVerbs


class Lab(AskingVerbs, SearchingVerbs, BundleVerbs):
    """A search database with the verbs of the command line; ``nuwa_search.open`` makes one.

    One lab belongs to one thread. Several labs, in one process or in many, may work on one database at once.

    Args:
        url: ``sqlite:///path``, ``postgresql://user@host/name``, or the path of a SQLite file.
        cache_dir: Folder for caches that can be deleted at any time; None for the user's.
        say: Told what a person should know beside an answer, in sentences; None warns with ``NuwaWarning``.
    """
