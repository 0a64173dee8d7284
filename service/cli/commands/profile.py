"""``nuwa profile``: measure a device's latency table and fit its predictor."""

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.search.hooks import Hooks
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.agree import agree_to
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import ProgressLine, counted_text, current_line

if TYPE_CHECKING:
    from nuwa_search.lab.lab import Lab
    from nuwa_search.predictors.device_predictor import Progress
    from nuwa_search.predictors.profile_answer import ProfileAnswer

INTERRUPTED = 130


@click.command("profile", cls=NuwaCommand)
@click.argument("device")
@with_flags("base", "img-size", "img-sizes", "minutes", "resume", "from", "kit", "import")
def command(device: str, **values: Any) -> int:
    """Measure what DEVICE's latency table lacks for a base, fit the predictor, print its report card.

    A board over SSH, where engines build for minutes, takes its predictor from its emulated sibling with at most ten
    nets measured; --minutes N measures a table of its own for so long. Once the first engine was timed, rows, engines,
    hours and disk of the rest are said, and -y goes on without asking.

    With --img-sizes, at each further image size a few rows and a third as many nets are measured (at two sizes at
    most; others between are interpolated), and each has a report card of its own.

    Stopped at any moment, it goes on where it was: nothing measured is lost or measured twice. With
    -o card.png it draws predicted against measured latency.
    """
    output = output_from_flags(values, use_path=False)
    if values["output"]:
        _check_output(values)
    line = current_line()
    wishes = {name: values[name] for name in ("base", "img_size", "img_sizes", "minutes", "seed")}
    wishes |= {f"{name}_": values[name] for name in ("from", "import") if values[name]}
    with laboratory(values, say=output.note) as lab:
        spec = lab.device(device)
        if values["from"]:
            lab.device(values["from"])
        require_demo(values["base"], needs_images=False)  # told before anything heavy is loaded
        if values["dry_run"] or values["kit"]:
            _without_device(lab, spec, values, output)
            return 0
        is_transfer = values["from"] or (spec.kind == "ssh" and values["minutes"] is None)  # a board's default
        try:
            answer = lab.profile(
                device,
                on_cost=lambda cost: agree_to(cost, spec.name, yes=values["yes"], output=output),
                callback=Hooks(count=_progress(line, None if is_transfer else _minutes(spec, values["minutes"]))),
                **wishes,
            )
        except KeyboardInterrupt:
            line.end()
            go_on = command_to_go_on(["nuwa", "profile", device], leave_out=["resume"])
            output.note(f"\ninterrupted; everything measured is saved. To go on:\n  {go_on}")
            return INTERRUPTED
        record = lab.store.load_predictor(answer.predictor_id)
    if output.json:
        output.document(answer.to_json())
    else:
        output.table([{"figure": name, "value": value} for name, value in _rows(answer)])
    if values["output"]:
        from nuwa_search.predictors.report_picture import draw_report

        draw_report(spec, record, expanded(values["output"]))
        output.note(f"picture: {values['output']}")
    return 0


def _without_device(lab: "Lab", spec: DeviceSpec, values: Mapping[str, Any], output: Output) -> None:
    """Print what would be profiled, or write a kit for a board without SSH."""
    if values["dry_run"]:
        from nuwa_search.core.base import load_base

        base = load_base(values["base"], img_size=values["img_size"])
        output.note(f"would profile {spec.name} for base {base.name}")
        return
    files = lab.write_kit(spec.name, values["kit"], base=values["base"], img_size=values["img_size"])
    output.text(f"{len(files)} ONNX files and one script in {values['kit']}")
    back = f"nuwa profile {spec.name} --import {shlex.quote(values['kit'])}"
    output.note(f"copy it to the board, run the script there, copy it back, then: {back}")


def _minutes(spec: DeviceSpec, minutes: float | None) -> float | None:
    """Return how many minutes a profile may take."""
    from nuwa_search.predictors.profile import ProfileSettings, minutes_of

    return minutes_of(ProfileSettings(minutes=minutes), spec)


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
    rows += [
        (f"error at {size} px", f"{100 * float(str(card['mape'])):.2f} % on {card['num_heldout']} nets")
        for size, card in (answer.report_by_size or {}).items()
    ]
    rows += [(name, value) for name, value in report.items() if not isinstance(value, dict)]
    rows += [(f"{name} {k}", v) for name, part in report.items() if isinstance(part, dict) for k, v in part.items()]
    shown = answer.to_json()
    rows += [(name, shown[name]) for name in ("transferred_from", "curve", "missing", "seconds") if name in shown]
    return rows
