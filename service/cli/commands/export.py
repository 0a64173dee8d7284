"""``nuwa export``: write a bundle's ONNX model for a device, with a fresh certificate."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from nuwa_search.core.errors import NuwaError
from nuwa_search.search.device_budget import budgets_from_texts
from nuwa_search.search.request import OPTIONS
from nuwa_search.service.cli.board_line import board_line
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.missed import missed_budget
from nuwa_search.service.cli.output import output_from_flags

if TYPE_CHECKING:
    from nuwa_search.lab.keywords import ExportKeywords

SOURCE = ("base", "data", "label_column")
"""Flags that name the images for INT8."""


@click.command("export", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="What the model computes in; int8 is kept only where it is measured faster.  [the device's own]",
)
@click.option(
    "--max-loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Top1 (or balanced accuracy, where it chose the model) that INT8 may lose on the search split (fraction).",
)
@click.option(
    "--input",
    "input_kind",
    type=click.Choice(["normalised", "unit", "uint8"]),
    default="normalised",
    show_default=True,
    help="What the graph takes; with unit (0..1) and uint8 pixels it normalises by itself.",
)
@click.option(
    "--output-kind",
    type=click.Choice(["logits", "labels"]),
    default="logits",
    show_default=True,
    help="What the graph gives where pixels have classes: the logits of each, or its class.",
)
@click.option("--trim-tokens", is_flag=True, help="Drop tokens that no output depends on: same logits, less work.")
@with_flags(
    "device",
    "budget-ms",
    "budget-statistic",
    "base",
    "data",
    "label-column",
    defaults={"budget-statistic": None, "base": None},
    writes=True,
)
def command(folder: Path, **values: Any) -> None:
    """Export bundle FOLDER for a device: opset and build line it can take, checked and measured.

    INT8 takes its ranges from training images and its accuracy from search images: of --data, or of the data that
    the bundle names.
    """
    output, budget_ms = output_from_flags(values), _budget_ms(values)
    names = ("precision", "max_loss", "input_kind", "output_kind", "trim_tokens", "budget_statistic", "seed", *SOURCE)
    wishes = cast("ExportKeywords", {"budget_ms": budget_ms} | {name: values[name] for name in names})
    with laboratory(values, say=output.note) as lab:
        spec = lab.device(values["device"])
        from nuwa_search.lab.export import replaced_export

        other = replaced_export(folder, spec, values["precision"])
        if other is not None and not confirmed(
            f"Replace the export for {other} and its certificate?", yes=values["yes"]
        ):
            output.note("nothing exported")
            return
        with board_line(spec, output, is_sustained=values["budget_statistic"] == "sustained"):
            answer = lab.export(folder, device=spec.name, replace=True, **wishes)
    if output.json:
        output.document({"schema": "nuwa.export/1", **answer.to_json()})
    else:
        output.table([{key: value for key, value in answer.to_json().items() if key not in ("int8", "notes")}])
    from nuwa_search.deploy.bundle import read_bundle

    written = read_bundle(answer.dir).certificate
    if written is not None and written.check is not None and not written.check.is_met:
        raise missed_budget(f"the export for {spec.name} misses its budget", written.check)


def _budget_ms(values: Mapping[str, Any]) -> float | None:
    """Read the one budget of an export.

    Raises:
        NuwaError: If there are several, or one of another device.
    """
    budgets = budgets_from_texts(OPTIONS["budget_ms"].value_of_flag(values["budget_ms"]))
    wrong = [one.text for one in budgets if one.device not in (None, values["device"])]
    if wrong or len(budgets) > 1:
        said = ", ".join(one.text for one in budgets)
        raise NuwaError(
            f"an export is for one device, {values['device']}, and --budget-ms says {said}",
            hint="nuwa export DIR --device NAME --budget-ms N, once for each device",
        )
    return budgets[0].budget_ms if budgets else None
