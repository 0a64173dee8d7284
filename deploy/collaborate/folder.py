"""Which folder is a collaboration, found out without reading it: commands ask before they load what computes."""

from pathlib import Path

from nuwa_search.core.home import expanded
from nuwa_search.store.store import Store

COLLABORATION = "collaboration.json"


def is_collaboration(folder: Path) -> bool:
    """Whether a folder holds a collaboration."""
    return (folder / COLLABORATION).is_file()


def collaboration_folder(name: str | Path, store: Store | None) -> Path | None:
    """Return the folder that a text names: the folder itself, its ``collaboration.json``, or a decomposition's study.

    Args:
        name: What was named.
        store: Knows studies; None to look at files only.

    Returns:
        None where it names no collaboration.
    """
    path = expanded(name)
    folder = path.parent if path.name == COLLABORATION else path
    if is_collaboration(folder):
        return folder
    found = store.collaborations.find(study=str(name), limit=1) if store is not None and not path.exists() else []
    return Path(found[0]["path"]) if found else None
