"""``nuwa device``: list, show, add and remove devices."""

import dataclasses
from typing import Any

import click

from latency.devices.registry import builtin_specs
from nuwa.device import DeviceSpec, device_json
from nuwa.errors import NuwaError
from service.cli.command import NuwaCommand
from service.cli.database import database
from service.cli.flags import with_flags
from service.cli.output import output_from_flags
from service.workflow.devices import added_devices, find_device


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
@with_flags()
def show(name: str, **values: Any) -> None:
    """Show a device, its latency table and the report card of its newest predictor."""
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(name, store)
        luts = [lut for lut in store.luts() if lut.device_id == spec.device_id]
        predictors = store.predictors(spec.device_id)
    facts = dataclasses.asdict(spec) | {"device_id": spec.device_id, "options": dict(spec.options)}
    tables = [{"lut_id": lut.lut_id, "protocol_id": lut.protocol_id, "rows": lut.num_rows} for lut in luts]
    known: list[dict[str, Any]] = [
        {"predictor_id": p.predictor_id, "created": str(p.created_at), "report": p.report} for p in predictors
    ]
    if output.json:
        output.document({"schema": "nuwa.device/1", "device": facts, "tables": tables, "predictors": known})
        return
    rows = [{"fact": key, "value": value} for key, value in facts.items() if value not in (None, "", {})]
    rows += [{"fact": "latency table", "value": f"{t['lut_id']}: {t['rows']} rows"} for t in tables]
    for record in known[:1]:
        rows.append({"fact": "predictor", "value": record["predictor_id"]})
        rows += [{"fact": f"  {k}", "value": v} for k, v in record["report"].items() if not isinstance(v, dict)]
    output.table(rows)


@command.command("add", cls=NuwaCommand)
@click.argument("name")
@click.option("--ssh", "address", required=True, metavar="USER@HOST[:PORT]", help="Where the board is.")
@click.option("--runtime", type=click.Choice(["trtexec"]), default="trtexec", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp16", show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@with_flags()
def add(name: str, address: str, runtime: str, precision: Any, batch: int, **values: Any) -> None:
    """Look at a board over SSH and add it; nothing is installed there."""
    output = output_from_flags(values)
    if name in builtin_specs():
        raise NuwaError(f"{name!r} is the name of a built-in device", hint="choose another name")
    from latency.devices.board_facts import read_board_facts, spec_from_facts
    from latency.transport.ssh import SshTransport, ssh_address_from_text

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
    output.text(f"added {name}: {spec.runtime} {spec.runtime_version}, {spec.precision}")
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
            raise NuwaError(f"{name!r} is built in and cannot be removed")
        if values["dry_run"]:
            output.note(f"would remove {name}")
            return
        if not values["yes"] and not click.confirm(f"Remove device {name}?", err=True):
            output.note("nothing removed")
            return
        store.unlist_device(name)
    output.text(f"removed {name}")
