"""``nuwa export``: write a bundle's ONNX model for a device, with a fresh certificate."""

from pathlib import Path
from typing import Any

import click

from nuwa.errors import NoAnswerError
from service.cli.command import NuwaCommand
from service.cli.database import database
from service.cli.flags import with_flags
from service.cli.output import output_from_flags
from service.workflow.devices import find_device


@click.command("export", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@with_flags("device", "budget-ms", "budget-statistic", defaults={"budget-statistic": None}, writes=True)
def command(folder: Path, **values: Any) -> None:
    """Export bundle FOLDER for a device: opset and build line it can take, checked and measured."""
    output = output_from_flags(values)
    from service.workflow.export import export_bundle

    with database(values) as store:
        spec = find_device(values["device"], store)
    answer = export_bundle(
        folder,
        spec=spec,
        budget_ms=values["budget_ms"],
        statistic=values["budget_statistic"],
        seed=values["seed"],
    )
    if output.json:
        output.document({"schema": "nuwa.export/1", **answer})
    else:
        output.table([answer])
    if answer["verdict"].startswith("missed"):
        raise NoAnswerError(f"{answer['latency_ms']:.2f} ms on {spec.name} is over the budget")
