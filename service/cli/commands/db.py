"""``nuwa db``: upgrade, check, copy and prune the database."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.errors import NoAnswerError
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_cache_dir, default_db_url
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database, require_named_file, tell_upgrade
from nuwa_search.service.cli.duration import seconds_from_text
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.store.revisions import HEAD

if TYPE_CHECKING:
    from nuwa_search.lab.pruning import PruneAnswer

COUNTS = {
    "devices": "select count(*) from v_devices",
    "latencies": "select count(*) from v_latencies",
    "subnets": "select count(*) from v_subnets",
    "studies": "select count(*) from v_studies",
    "certificates": "select count(*) from v_certificates",
    "collaborations": "select count(*) from v_collaborations",
}


@click.group()
def command() -> None:
    """Upgrade, check, copy and prune the database."""


@command.command("upgrade", cls=NuwaCommand)
@with_flags()
def upgrade(**values: Any) -> None:
    """Bring the database's tables to this version; opening it does the same.

    A SQLite file of an older schema is copied beside itself first. On PostgreSQL a backup is the server's own job: with
    --dry-run the line for pg_dump is said and nothing is done.
    """
    output = output_from_flags(values)
    from nuwa_search.store.upgrading import find_schema

    found = find_schema(values["db"] or default_db_url())
    answer = {"url": found.url, "is_current": not found.is_old, "was": found.revision, "backup": None}
    if found.is_old and not found.is_sqlite:
        output.note(f"no backup is made here: PostgreSQL's is the server's own job, {found.dump_line}")
    if not values["dry_run"]:
        with database(values | {"quiet": True}) as store:
            backup = None if store.backup_path is None else str(store.backup_path)
            answer |= {"url": store.shown_url, "is_current": True, "backup": backup}
    if output.json:
        output.document({"schema": "nuwa.db/1", **answer})
        return
    if answer["is_current"]:
        said = f"up to date: {answer['url']}"
    else:
        copied = "after a copy beside it" if found.is_sqlite else "with no copy of it"
        said = f"schema {found.revision}: would be upgraded to {HEAD}, {copied}"
    if answer["backup"] is not None:
        said += f"\nas it was before, with schema {found.revision}: {answer['backup']}"
    output.text(said, row=answer)


@command.command("check", cls=NuwaCommand)
@with_flags()
def check(**values: Any) -> None:
    """Open the database and count what is in it."""
    output = output_from_flags(values)
    with database(values, must_exist=True) as store:
        from nuwa_search.store.sql import run_sql

        rows = [{"what": what, "rows": int(run_sql(store, query).rows[0][0])} for what, query in COUNTS.items()]
        url = store.shown_url
    if output.json:
        output.document({"schema": "nuwa.db/1", "url": url, "counts": {r["what"]: r["rows"] for r in rows}})
    else:
        output.table(rows)


@command.command("copy", cls=NuwaCommand)
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--replace", is_flag=True, help="Delete what TARGET holds first.")
@with_flags(writes=True, without=("db",))
def copy(source: str, target: str, *, replace: bool, **values: Any) -> None:
    """Copy the database SOURCE, with Optuna's studies, into the empty database TARGET.

    Each is a SQLite path or a URL, as --db takes it. An interrupted copy is completed by the same command; a TARGET
    that holds anything else is refused without --replace. Bundles and caches are files, and stay where they are.
    """
    output = output_from_flags(values)
    require_named_file({"db": source}, hint="name the database to copy first, then the one to copy it to")
    from nuwa_search.lab.copying import copy_database
    from nuwa_search.store.copying import count_rows
    from nuwa_search.store.store import open_store

    with open_store(source) as old, open_store(target) as new:
        for store in (old, new):
            tell_upgrade(store, quiet=output.quiet)
        there = sum(count_rows(new).values()) if replace else 0
        if there and not confirmed(f"Delete the {there} rows of {new.shown_url}?", yes=values["yes"]):
            raise NoAnswerError("nothing was copied", hint="name an empty database")
        made = copy_database(old, new, replace=replace)
    for work in made.running:
        output.warn(f"{work} was running: the copy has it as it was then")
    if output.json:
        output.document(made.to_json())
        return
    output.table([{"table": t.table, "rows": t.rows, "added": t.added} for t in made.tables])
    output.note(f"{made.num_rows} rows in both, {made.num_added} of them written now, in {made.seconds:.1f} s")
    output.note(f"to work on it: --db {made.target}, or NUWA_DB={made.target}")


@command.command("prune", cls=NuwaCommand)
@click.option("--older", metavar="TIME", required=True, help="Only what is older than this: 180d, 26w, 2y.")
@with_flags("cache-dir")
def prune(older: str, **values: Any) -> None:
    """Delete what is old and needed by nothing; says what goes, and asks.

    Old searches without a bundle go, with their trials and events; subnets of old searches go where no front holds
    them; jobs and workers that are over go. Whatever a certificate, a bundle, a measurement or a running search needs
    stays, and so do devices, latency tables, predictors and bundles' folders.
    """
    output = output_from_flags(values)
    before = datetime.now(UTC) - timedelta(seconds=seconds_from_text(older, example="--older 180d"))
    cache_dir = expanded(values["cache_dir"] or default_cache_dir())
    with database(values, must_exist=True) as store:
        from nuwa_search.lab.pruning import prune_database

        answer = prune_database(store, before=before, cache_dir=cache_dir, dry_run=True)
        if answer.pruned.num_rows and not values["dry_run"]:
            for line in _prune_lines(answer):
                output.note(line)
            if not confirmed(f"Delete these {answer.pruned.num_rows} rows?", yes=values["yes"]):
                raise NoAnswerError("nothing was deleted")
            answer = prune_database(store, before=before, cache_dir=cache_dir)
    if output.json:
        output.document(answer.to_json())
        return
    output.table(
        [{"table": table, "rows": rows} for table, rows in answer.pruned.rows.items()], columns=("table", "rows")
    )
    if not answer.is_deleted:
        for line in _prune_lines(answer):
            output.note(line)
    verb = "were deleted" if answer.is_deleted else "would be deleted"
    output.note(f"{answer.pruned.num_rows} rows {verb} from {answer.url}")
    if answer.is_compact is False:
        output.warn("the file stays as large: another process is at work on it, or the disk has no room to rewrite it")


def _prune_lines(answer: "PruneAnswer") -> list[str]:
    """List what is deleted and what stays, a line each."""
    lines = [f"older than {answer.before:%Y-%m-%d %H:%M} UTC:"]
    lines += [f"  {table}: {rows} rows" for table, rows in answer.pruned.rows.items()]
    lines += [f"  search {study}, whole" for study in answer.pruned.studies]
    lines += [f"  {entry.path}: {entry.num_bytes / 1e6:.1f} MB of checkpoints" for entry in answer.checkpoints]
    lines += [f"  stays: {number} old searches {why}" for why, number in answer.pruned.kept.items()]
    return lines
