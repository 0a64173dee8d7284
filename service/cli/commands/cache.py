"""``nuwa cache``: what the caches hold, and clearing them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nuwa_search.core.cache_contents import KINDS, CacheEntry, find_entries, remove_entries
from nuwa_search.core.errors import NoAnswerError
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_cache_dir, default_db_url
from nuwa_search.core.suggest import unknown_name
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.duration import seconds_from_text
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags

DAY_S = 86400.0


@click.group()
def command() -> None:
    """Show and clear what is kept to save time."""


@command.command("ls", cls=NuwaCommand)
@with_flags("cache-dir")
def ls(**values: Any) -> None:
    """Say what the caches hold: kind, entries, size, age, and what uses them."""
    output = output_from_flags(values)
    folder = _folder(values)
    rows = _rows(find_entries(folder))
    if output.json:
        total = sum(row["size_mb"] for row in rows)
        output.document({"schema": "nuwa.cache/1", "folder": str(folder), "size_mb": total, "caches": rows})
        return
    output.table(rows, columns=("cache", "entries", "size_mb", "oldest_days", "newest_days", "used_by"))
    output.note(f"in {folder}; nuwa cache clear [NAME…] [--older 30d] deletes from it")


@command.command("clear", cls=NuwaCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--older", metavar="TIME", help="Only what was last written so long ago: 30d, 12h, 26w.")
@with_flags("cache-dir")
def clear(names: tuple[str, ...], *, older: str | None, **values: Any) -> None:
    """Delete what the caches hold, all of it or those of some NAMEs; it is computed again where it is needed.

    Checkpoints of a search that is running stay.
    """
    for name in names:
        if name not in KINDS:
            raise unknown_name("cache", name, KINDS, hint="`nuwa cache ls` lists them")
    output = output_from_flags(values)
    seconds = 0.0 if older is None else seconds_from_text(older, example="--older 30d")
    folder = _folder(values)
    entries = find_entries(folder, kinds=names, older_s=seconds, busy_studies=_busy_studies(values))
    rows = _rows(entries)
    size_mb = sum(entry.num_bytes for entry in entries) / 1e6
    is_dry = bool(values["dry_run"]) or not entries
    if not is_dry:
        output.note("\n".join(f"{row['cache']}: {row['entries']}, {row['size_mb']:.1f} MB" for row in rows))
        question = f"Delete these {len(entries)} entries, {size_mb:.1f} MB, from {folder}?"
        if not confirmed(question, yes=values["yes"]):
            raise NoAnswerError("nothing was deleted")
        remove_entries(entries)
    if output.json:
        answer = {"folder": str(folder), "size_mb": size_mb, "caches": rows, "is_deleted": not is_dry}
        output.document({"schema": "nuwa.cache/1", **answer})
        return
    output.table(rows, columns=("cache", "entries", "size_mb", "oldest_days", "newest_days", "used_by"))
    output.note(f"{size_mb:.1f} MB {'would be' if is_dry else 'were'} deleted from {folder}")


def _folder(values: dict[str, Any]) -> Path:
    return expanded(values["cache_dir"] or default_cache_dir())


def _busy_studies(values: dict[str, Any]) -> list[str]:
    """List the studies that run now, by the database in use."""
    from nuwa_search.store.emptiness import is_empty

    if is_empty(values["db"] or default_db_url()):
        return []
    from nuwa_search.store.running import running_work

    with database(values) as store:
        return [work.removeprefix("search ") for work in running_work(store)]


def _rows(entries: Sequence[CacheEntry]) -> list[dict[str, Any]]:
    rows = []
    for kind, used_by in KINDS.items():
        mine = [entry for entry in entries if entry.kind == kind]
        if mine:
            rows.append(
                {
                    "cache": kind,
                    "entries": len(mine),
                    "size_mb": sum(entry.num_bytes for entry in mine) / 1e6,
                    "oldest_days": max(entry.age_s for entry in mine) / DAY_S,
                    "newest_days": min(entry.age_s for entry in mine) / DAY_S,
                    "used_by": used_by,
                }
            )
    return rows
