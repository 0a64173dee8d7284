"""``nuwa db``: upgrade and check the database."""

from typing import Any

import click

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags

COUNTS = {
    "devices": "select count(*) from v_devices",
    "latencies": "select count(*) from v_latencies",
    "subnets": "select count(*) from v_subnets",
    "studies": "select count(*) from v_studies",
    "certificates": "select count(*) from v_certificates",
}


@click.group()
def command() -> None:
    """Upgrade and check the database."""


@command.command("upgrade", cls=NuwaCommand)
@with_flags(writes=True)
def upgrade(**values: Any) -> None:
    """Bring the database's tables to this version; opening it does the same."""
    output = output_from_flags(values)
    with database(values) as store:
        url = store.shown_url
    if output.json:
        output.document({"schema": "nuwa.db/1", "url": url, "is_current": True})
    else:
        output.text(f"up to date: {url}", row={"url": url, "is_current": True})


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
