"""``nuwa device``: list, show, add and remove devices."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.device import DeviceSpec, device_json
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.latency.devices.find import added_devices, find_device
from nuwa_search.latency.devices.pool_spec import is_pool, pool_spec
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.pool_view import board_json

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


@click.group()
def command() -> None:
    """List, show, add and remove devices."""


@command.command("ls", cls=NuwaCommand)
@with_flags()
def ls(**values: Any) -> None:
    """List built-in and added devices."""
    output = output_from_flags(values)
    with database(values) as store:
        specs = builtin_specs() | added_devices(store)
    rows = [device_json(spec) | {"kind": spec.kind, "opset": spec.opset, "note": spec.note} for spec in specs.values()]
    if output.json:
        output.document({"schema": "nuwa.device/1", "devices": rows})
    else:
        output.table(rows, columns=("name", "kind", "runtime", "runtime_version", "precision", "power_mode", "note"))


@command.command("show", cls=NuwaCommand)
@click.argument("name")
@click.option("--table", "wants_table", is_flag=True, help="Its latency table; with -o as a .csv or .parquet file.")
@with_flags()
def show(name: str, *, wants_table: bool, **values: Any) -> None:
    """Show a device, its latency table and the report card of its newest predictor.

    With -o card.png (or .svg, .pdf) the report card is drawn: predicted against measured latency.
    """
    is_drawn = False
    if values["output"]:
        from nuwa_search.predictors.report_plot import is_picture

        is_drawn = is_picture(Path(values["output"]))
    output = output_from_flags(values, use_path=not (is_drawn or wants_table))
    with database(values) as store:
        spec = find_device(name, store)
        if wants_table:
            _show_table(store, spec, values)
            return
        if is_drawn:
            _draw(store, spec, values)
            return
        luts = [lut for lut in store.luts() if lut.device_id == spec.device_id]
        predictors = store.predictors(spec.device_id)
        boards = [board_json(record) for record in store.boards(spec.name)] if is_pool(spec) else None
    facts = dataclasses.asdict(spec) | {"device_id": spec.device_id, "options": dict(spec.options)}
    tables = [{"lut_id": lut.lut_id, "protocol_id": lut.protocol_id, "rows": lut.num_rows} for lut in luts]
    known: list[dict[str, Any]] = [
        {"predictor_id": p.predictor_id, "created": str(p.created_at), "report": p.report} for p in predictors
    ]
    if output.json:
        more = {} if boards is None else {"boards": boards}
        output.document({"schema": "nuwa.device/1", "device": facts, "tables": tables, "predictors": known, **more})
        return
    rows = [{"fact": key, "value": value} for key, value in facts.items() if value not in (None, "", {})]
    rows += [{"fact": "latency table", "value": f"{t['lut_id']}: {t['rows']} rows"} for t in tables]
    rows += [{"fact": f"board {board['name']}", "value": board["words"]} for board in boards or ()]
    for record in known[:1]:
        rows.append({"fact": "predictor", "value": record["predictor_id"]})
        rows += [{"fact": f"  {k}", "value": v} for k, v in record["report"].items() if not isinstance(v, dict)]
    output.table(rows)


def _draw(store: "Store", spec: DeviceSpec, values: Mapping[str, Any]) -> None:
    from nuwa_search.predictors.report_picture import draw_report

    known = store.predictors(spec.device_id)
    if not known:
        raise NuwaError(f"device {spec.name} has no latency predictor yet", hint=f"nuwa profile {spec.name}")
    path = expanded(values["output"])
    draw_report(spec, known[0], path)
    output_from_flags(values, use_path=False).note(f"the report card of {known[0].predictor_id} is drawn in {path}")


def _show_table(store: "Store", spec: DeviceSpec, values: Mapping[str, Any]) -> None:
    from nuwa_search.latency.table.device_table import table_of
    from nuwa_search.latency.table.files import COLUMNS, dict_from_table_row, write_table

    output = output_from_flags(values, use_path=False)
    rows = table_of(store, spec)
    if values["output"]:
        path = expanded(values["output"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(rows, path)
        output.note(f"{len(rows)} rows written to {path}")
        return
    records = [dict_from_table_row(row) for row in rows]
    if output.json:
        output.document({"schema": "nuwa.device/1", "device": device_json(spec), "table": records})
    else:
        output.table(records, columns=("kind", "latency_ms", *(c for c in COLUMNS if c not in ("kind", "latency_ms"))))


@command.command("load", cls=NuwaCommand)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@with_flags()
def load(name: str, file: Path, **values: Any) -> None:
    """Put the rows of a latency table, FILE (.csv or .parquet), into the table of device NAME.

    `nuwa device show NAME --table -o FILE` writes such a file. The next `nuwa profile NAME` fits a
    predictor to the table and measures only what it still lacks.
    """
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(name, store)
        from nuwa_search.latency.table.device_table import compare_table, store_rows
        from nuwa_search.latency.table.files import read_table

        rows = read_table(expanded(file))
        change = compare_table(store, spec, rows)
        question = f"Replace {len(change.changed)} rows of {name} that have another latency?"
        if change.changed and not values["dry_run"] and not confirmed(question, yes=values["yes"]):
            output.note("nothing loaded")
            return
        if not values["dry_run"]:
            store_rows(store, spec, (*change.added, *change.changed))
    counts = {"added": len(change.added), "replaced": len(change.changed), "same": change.num_same}
    if output.json:
        output.document({"schema": "nuwa.device/1", "device": device_json(spec), **counts})
    else:
        output.table([{"device": name, **counts}])
    if not values["dry_run"] and (change.added or change.changed):
        output.note(f"next: nuwa profile {name}")


@command.command("add", cls=NuwaCommand)
@click.argument("name")
@click.option("--ssh", "address", metavar="USER@HOST[:PORT]", help="Where the board is.")
@click.option("--board", "boards", multiple=True, metavar="NAME", help="Board of a pool; repeat it for each.")
@click.option("--runtime", type=click.Choice(["trtexec"]), default="trtexec", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp16", show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@with_flags()
def add(
    name: str, *, address: str | None, boards: tuple[str, ...], runtime: str, precision: Any, batch: int, **values: Any
) -> None:
    """Look at a board over SSH and add it; nothing is installed there.

    With --board, make a pool NAME of boards of a kind that were added before: what is measured on NAME goes to one that
    is free. Adding it again with other boards changes which are in it.
    """
    output = output_from_flags(values)
    if name in builtin_specs():
        raise NuwaError(f"{name!r} is the name of a built-in device", hint="choose another name")
    if bool(boards) == (address is not None):
        raise NuwaError(
            f"what {name} is must be said: --ssh USER@HOST for a board, or --board NAME for each board of a pool",
            hint="nuwa device add --help",
        )
    if address is None:
        _add_pool(name, boards, output, values)
        return
    from nuwa_search.latency.devices.board_facts import read_board_facts, spec_from_facts
    from nuwa_search.latency.transport.ssh import SshTransport, ssh_address_from_text

    parsed = ssh_address_from_text(address)
    transport = SshTransport(parsed)
    try:
        facts = read_board_facts(transport)
    finally:
        transport.close()
    spec: DeviceSpec = spec_from_facts(name, facts, address=address, precision=precision, batch=batch)
    if values["dry_run"]:
        output.note(f"would add {name} over {runtime}: {spec}")
        return
    with database(values) as store:
        store.list_device(spec)
    output.text(f"added {name}: {spec.runtime} {spec.runtime_version}, {spec.precision}", row=device_json(spec))
    output.note(f"next: nuwa doctor {name}   then   nuwa profile {name} --base BASE")


def _add_pool(name: str, boards: Sequence[str], output: Output, values: Mapping[str, Any]) -> None:
    with database(values) as store:
        known = added_devices(store).get(name)
        if known is not None and not is_pool(known):
            raise NuwaError(f"{name} is a board already", hint="choose another name for the pool")
        spec = pool_spec(name, [find_device(board, store) for board in boards])
        if values["dry_run"]:
            output.note(f"would make {name} a pool of {', '.join(boards)}")
            return
        store.save_pool(name, boards)
        store.list_device(spec)
    row = device_json(spec) | {"boards": list(boards)}
    if output.json:
        output.document({"schema": "nuwa.device/1", "device": row})
    else:
        output.text(f"added {name}: a pool of {len(boards)} boards, {spec.runtime} {spec.runtime_version}", row=row)
    output.note(f"next: nuwa doctor {name}   then   nuwa profile {name} --base BASE")


@command.command("rm", cls=NuwaCommand)
@click.argument("name")
@with_flags()
def rm(name: str, **values: Any) -> None:
    """Take an added device off the list; its figures stay in the database."""
    output = output_from_flags(values)
    with database(values) as store:
        find_device(name, store)
        if name in builtin_specs():
            raise NuwaError(f"{name!r} is built in and cannot be removed", hint="nuwa device ls")
        if values["dry_run"]:
            output.note(f"would remove {name}")
            return
        if not confirmed(f"Remove device {name}?", yes=values["yes"]):
            output.note("nothing removed")
            return
        store.unlist_device(name)
        store.forget_pool(name)
    output.text(f"removed {name}", row={"removed": name})
