"""``nuwa profile``: measure a device's latency table and fit its predictor."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.latency.devices.find import find_device
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import ProgressLine, counted_text, current_line

if TYPE_CHECKING:
    from nuwa_search.service.workflow.device_predictor import Progress
    from nuwa_search.service.workflow.profile_answer import ProfileAnswer

INTERRUPTED = 130


@click.command("profile", cls=NuwaCommand)
@click.argument("device")
@with_flags("base", "img-size", "minutes", "resume", "from", "kit", "import")
def command(device: str, **values: Any) -> int:
    """Measure what DEVICE's latency table lacks for a base, fit the predictor, print its report card.

    A board over SSH, where engines build for minutes, takes its predictor from its emulated sibling with at most ten
    nets measured; --minutes N measures a table of its own for so long. Once the first engine was timed, rows, engines,
    hours and disk of the rest are said, and -y goes on without asking.

    Stopped at any moment, it goes on where it was: nothing measured is lost or measured twice. With
    -o card.png it draws predicted against measured latency.
    """
    output = output_from_flags(values, use_path=False)
    if values["output"]:
        _check_output(values)
    line = current_line()
    with database(values) as store:
        spec = find_device(device, store)
        if values["from"]:
            find_device(values["from"], store)
        require_demo(values["base"], needs_images=False)
        from nuwa_search.core.base import load_base
        from nuwa_search.predictors.profile import ProfileSettings, minutes_of
        from nuwa_search.service.cli.profile_run import profile_device, write_kit_files

        base = load_base(values["base"], img_size=values["img_size"])
        settings = ProfileSettings(minutes=values["minutes"], seed=values["seed"])
        is_transfer = spec.kind == "ssh" and values["minutes"] is None  # a board's default
        progress = _progress(line, None if values["from"] or is_transfer else minutes_of(settings, spec))
        if values["dry_run"]:
            output.note(f"would profile {spec.name} for base {base.name}")
            return 0
        if values["kit"]:
            write_kit_files(Path(values["kit"]), base, spec, output)
            return 0
        try:
            answer = profile_device(store, spec, base, values, settings, progress, output)
        except KeyboardInterrupt:
            line.end()
            go_on = command_to_go_on(["nuwa", "profile", device], leave_out=["resume"])
            output.note(f"\ninterrupted; everything measured is saved. To go on:\n  {go_on}")
            return INTERRUPTED
        record = store.load_predictor(answer.predictor_id)
    if output.json:
        output.document(answer.to_json())
    else:
        output.table([{"figure": name, "value": value} for name, value in _rows(answer)])
    if values["output"]:
        from nuwa_search.service.workflow.report_picture import draw_report

        draw_report(spec, record, expanded(values["output"]))
        output.note(f"picture: {values['output']}")
    return 0


def _check_output(values: Mapping[str, Any]) -> None:
    """Refuse what cannot be drawn before anything is measured."""
    for name in ("from", "kit", "import"):
        if values[name]:
            hint = f"leave out -o, or --{name}"
            raise NuwaError(f"-o draws the nets held out by a profile, and --{name} holds none out", hint=hint)
    from nuwa_search.predictors.report_plot import check_picture

    check_picture(Path(values["output"]))


def _progress(line: ProgressLine, minutes: float | None) -> "Progress":
    """Show each count with the time left: to the end of the whole profile where it may take so many minutes."""
    if minutes is None:
        return line.count
    ends_s = time.monotonic() + 60 * minutes

    def show(label: str, done: int, total: int | None) -> None:
        line.show(counted_text(label, done, total), left_s=ends_s - time.monotonic())

    return show


def _rows(answer: "ProfileAnswer") -> list[tuple[str, Any]]:
    table, report = answer.table, answer.report.to_json() if answer.report else {}
    rows = [("table rows", f"{table.rows} ({table.added} new)"), ("whole models", answer.models_measured)]
    rows += [(name, value) for name, value in report.items() if not isinstance(value, dict)]
    rows += [(f"{name} {k}", v) for name, part in report.items() if isinstance(part, dict) for k, v in part.items()]
    shown = answer.to_json()
    rows += [(name, shown[name]) for name in ("transferred_from", "curve", "missing", "seconds") if name in shown]
    return rows
