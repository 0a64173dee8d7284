"""Prune a search database, with the checkpoints that the cache keeps of searches that go."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.cache_contents import CacheEntry, find_entries, remove_entries
from nuwa_search.store.pruning import Pruned, give_back_space, plan_prune, prune

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


@dataclass(frozen=True)
class PruneAnswer:
    """What goes, or went.

    Args:
        url: The database, without a password.
        before: Only what is older.
        pruned: Of the database.
        checkpoints: Of fine-tuning, in the cache, of the searches that go.
        is_deleted: False for a plan.
        is_compact: Whether the file is as small as its rows now; None for a plan.
    """

    url: str
    before: datetime
    pruned: Pruned
    checkpoints: tuple[CacheEntry, ...]
    is_deleted: bool
    is_compact: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Make the document of `nuwa db prune`."""
        return {
            "schema": "nuwa.db/1",
            "url": self.url,
            "before": self.before.isoformat(),
            "is_deleted": self.is_deleted,
            "is_compact": self.is_compact,
            "rows": self.pruned.rows,
            "studies": list(self.pruned.studies),
            "kept": self.pruned.kept,
            "bundles": [],
            "caches": [{"path": str(entry.path), "size_mb": entry.num_bytes / 1e6} for entry in self.checkpoints],
        }


def prune_database(store: "Store", *, before: datetime, cache_dir: Path, dry_run: bool = False) -> PruneAnswer:
    """Delete what is old and needed by nothing; ``nuwa_search.store.pruning`` says what that is.

    Args:
        store: The database.
        before: Only what is older.
        cache_dir: Where checkpoints of fine-tuning lie.
        dry_run: Whether it is only said.

    Raises:
        NoAnswerError: If a search is running whose task is not known yet.
        OutsideError: If the server or disk fails, or another writer does not let go.
    """
    pruned = plan_prune(store, before=before) if dry_run else prune(store, before=before)
    gone = set(pruned.studies)
    checkpoints = tuple(entry for entry in find_entries(cache_dir, kinds=("finetune",)) if entry.path.name in gone)
    if dry_run:
        return PruneAnswer(store.shown_url, before, pruned, checkpoints, is_deleted=False)
    remove_entries(checkpoints)
    is_compact = give_back_space(store) if pruned.num_rows else True
    return PruneAnswer(store.shown_url, before, pruned, checkpoints, is_deleted=True, is_compact=is_compact)
