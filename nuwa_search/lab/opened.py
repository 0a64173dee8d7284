"""A database opened for work: what every verb stands on."""

import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nuwa_search.core.errors import NuwaWarning
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_cache_dir, without_secret
from nuwa_search.latency.devices.find import added_devices, find_device
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.search.request import SearchRequest

if TYPE_CHECKING:
    from nuwa_search.core.device import DeviceSpec
    from nuwa_search.store.store import Store

DEVICE = SearchRequest.device
"""The device of a verb that names none: an emulated Jetson Nano, as on the command line."""


def warn_of(text: str) -> None:
    """Tell a note of the library's as a warning of the caller's line."""
    warnings.warn(text, NuwaWarning, stacklevel=4)  # this, _tell, the verb, who called it


class OpenedLab:
    """A search database that opens when it is needed.

    The database is opened by the first verb that needs it, and closed at the end of a ``with`` block or by ``close``.
    One lab belongs to one thread. Several labs, in one process or in many, may work on one database at once.

    Args:
        url: ``sqlite:///path``, ``postgresql://user@host/name``, or the path of a SQLite file.
        cache_dir: Folder for caches that can be deleted at any time; None for the user's.
        say: Told what a person should know beside an answer, in sentences; None warns with ``NuwaWarning``.
    """

    def __init__(self, url: str, *, cache_dir: Path | None = None, say: Callable[[str], None] | None = None) -> None:
        self.url = url
        self.cache_dir = expanded(cache_dir or default_cache_dir())
        self._say = say or warn_of

    @cached_property
    def store(self) -> "Store":
        """The database, for what no verb does; see docs/database.md."""
        from nuwa_search.store.store import open_store  # SQLAlchemy, which a refused call does without

        store = open_store(self.url)
        if store.backup_path is not None:
            from nuwa_search.store.upgrading import upgraded_line

            self._say(upgraded_line(store) or "")
        return store

    def close(self) -> None:
        """Close the database; the next verb would open it again."""
        if "store" in vars(self):
            self.store.close()
            del self.store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Lab({without_secret(self.url)!r})"

    def devices(self) -> "dict[str, DeviceSpec]":
        """Return the devices by name: built in, and added by the user."""
        return builtin_specs() | added_devices(self.store)

    def device(self, name: str) -> "DeviceSpec":
        """Return the spec of a device.

        Raises:
            NuwaError: If no device has that name; the known ones are named.
        """
        return find_device(name, self.store)

    def _tell(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._say(note)
