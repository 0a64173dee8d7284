"""Fill a folder all at once: whoever is interrupted leaves what was there before."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nuwa_search.core.interrupts import interrupt_deferred

_READABLE = 0o755


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; its files move into ``folder`` when the block is done, and only then.

    Files of the same names are replaced, others stay. A Ctrl-C while they are moved waits until they are.

    Args:
        folder: Where they go; made with its parents.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        fresh.chmod(_READABLE)  # mkdtemp makes it private
        yield fresh
        with interrupt_deferred():
            folder.mkdir(exist_ok=True)
            for path in sorted(fresh.iterdir()):
                path.replace(folder / path.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
