"""The library as a command uses it: on the database and the caches that its flags name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.settings import default_db_url
from nuwa_search.service.cli.database import require_named_file

if TYPE_CHECKING:
    from nuwa_search.lab.lab import Lab


@contextmanager
def laboratory(values: Mapping[str, Any], *, say: Callable[[str], None], must_exist: bool = False) -> Iterator["Lab"]:
    """Make the lab of ``--db`` and ``--cache-dir`` for the length of a block; its database opens where it is needed.

    Args:
        values: Values of the flags.
        say: Shows a note to the user.
        must_exist: Whether a named SQLite file that is not there is an error instead of a new database.

    Raises:
        NuwaError: If it must exist and does not.
    """
    if must_exist:
        require_named_file(values)
    from nuwa_search.lab.lab import Lab  # which help and a usage error do without

    cache_dir = values.get("cache_dir")
    with Lab(values["db"] or default_db_url(), cache_dir=Path(cache_dir) if cache_dir else None, say=say) as lab:
        yield lab
