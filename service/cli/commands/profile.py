"""``nuwa profile``: measure a device's latency table and fit its predictor."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from nuwa.base import load_base
from nuwa.device import device_json
from predictors.profile import ProfileSettings
from service.cli.command import NuwaCommand
from service.cli.database import database
from service.cli.flags import with_flags
from service.cli.output import output_from_flags
from service.cli.progress import ProgressLine
from service.workflow.devices import find_device
from service.workflow.pricing import PricedDevice, run_profile

INTERRUPTED = 130


@click.command("profile", cls=NuwaCommand)
@click.argument("device")
@with_flags("base", "minutes", "resume")
def command(device: str, **values: Any) -> int:
    """Measure what DEVICE's latency table lacks for a base, fit the predictor, print its report card.

    Stopped at any moment, it goes on where it was: nothing measured is lost or measured twice.
    """
    output = output_from_flags(values, use_path=False)
    base = load_base(values["base"])
    settings = ProfileSettings(minutes=values["minutes"], seed=values["seed"])
    with database(values) as store, ProgressLine(enabled=output.shows_progress) as line:
        spec = find_device(device, store)
        if values["dry_run"]:
            output.note(f"would profile {spec.name} for base {base.name}: {settings}")
            return 0
        try:
            priced = run_profile(
                store,
                spec,
                base.arch,
                settings=settings,
                progress=lambda label, done, total: line.show(f"{label} {done}/{total or '?'}"),
            )
        except KeyboardInterrupt:
            line.clear()
            output.note(f"\ninterrupted; everything measured is saved. To go on:\n  nuwa profile {device}")
            return INTERRUPTED
        answer = profile_json(priced)
    if values["output"]:
        plot_card(priced, Path(values["output"]))
        output.note(f"picture: {values['output']}")
    if output.json:
        output.document(answer)
    else:
        output.table([{"figure": name, "value": value} for name, value in _rows(answer)])
    return 0


def profile_json(priced: PricedDevice) -> dict[str, Any]:
    """Render the `nuwa.profile/1` answer."""
    result = priced.profiled
    if result is None:
        raise ValueError("only a device that was profiled now has an answer")
    return {
        "schema": "nuwa.profile/1",
        "device": device_json(priced.spec),
        "predictor_id": priced.predictor_id,
        "table": {"id": priced.predictor.table_id, "rows": len(priced.predictor.rows), "added": result.rows_added},
        "models_measured": result.models_measured,
        "measurements": result.measurements,
        "seconds": round(result.seconds, 1),
        "report": result.report.to_dict(),
    }


def _rows(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    table, report = answer["table"], answer["report"]
    rows = [("table rows", f"{table['rows']} ({table['added']} new)"), ("whole models", answer["models_measured"])]
    rows += [(name, value) for name, value in report.items() if not isinstance(value, dict)]
    rows += [(f"{name} {k}", v) for name, part in report.items() if isinstance(part, dict) for k, v in part.items()]
    return [*rows, ("seconds", answer["seconds"])]


def plot_card(priced: PricedDevice, path: Path) -> None:
    """Draw predicted against measured latency of the held-out models."""
    from matplotlib.figure import Figure  # only for pictures

    result = dataclasses.replace(priced.profiled) if priced.profiled else None
    if result is None or not result.heldout:
        return
    archs = [arch for arch, _ in result.heldout]
    found = priced.predictor.predict(archs)
    measured = [ms for _, ms in result.heldout]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    errors = [found.value - found.lower, found.upper - found.value]
    axes.errorbar(measured, found.value, yerr=errors, fmt="o", markersize=3, linewidth=0.8, label="held-out models")
    ends = [min(measured), max(measured)]
    axes.plot(ends, ends, color="grey", linewidth=0.8)
    axes.set_xlabel(f"{priced.spec.provenance} latency (ms)")
    axes.set_ylabel("predicted latency (ms), with interval")
    axes.set_title(f"{priced.spec.name}: MAPE {100 * result.report.errors.mape:.2f} %")
    axes.legend()
    figure.savefig(path, dpi=150)
