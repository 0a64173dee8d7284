"""``nuwa measure``: latency of a bundle, an arch or any ONNX file."""

import dataclasses
import math
from typing import Any

import click

from nuwa_search.core.budget import require_statistic
from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.find import find_device, opened_device
from nuwa_search.service.cli.board_line import board_line
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import ProgressLine, time_text


@click.command("measure", cls=NuwaCommand)
@click.argument("model")
@with_flags("device", "sustained")
def command(model: str, **values: Any) -> None:
    """Measure MODEL: a bundle, an arch, a base, or any ONNX file."""
    output = output_from_flags(values)
    seconds = None if values["sustained"] is None else seconds_from_text(values["sustained"])
    with database(values) as store:
        spec = find_device(values["device"], store)
        if seconds is not None:
            require_statistic("sustained", spec)
        from nuwa_search.core.measuring.sustained import sustain
        from nuwa_search.service.cli.measure_view import answer_of_measurement, show, show_sustained
        from nuwa_search.service.workflow.models import fix_free_batch, measured_source, onnx_from_text

        graph = onnx_from_text(model, store, spec)
        source = measured_source(model, graph, store, spec=spec)
    opened = fix_free_batch(graph, spec.batch)
    with opened_device(spec, seed=values["seed"]) as device:
        if seconds is not None:
            with ProgressLine(enabled=output.shows_progress) as line:
                line.stage(f"{spec.name}, busy for {time_text(seconds)}")
                run = sustain(device, graph, seconds=seconds, protocol=PROTOCOL)
            show_sustained(run, output)
            return
        with board_line(spec, output):
            measurement = device.measure(graph, protocol=PROTOCOL)
    if opened:
        said = f"input {', '.join(opened)} leaves the batch open: measured with {spec.batch}"
        measurement = dataclasses.replace(measurement, warnings=(*measurement.warnings, said))
    with database(values) as store:
        measurement_id = store.save_measurement(
            measurement, arch=source.arch, subnet_id=source.subnet_id, onnx_hash=source.onnx_hash
        )
    if output.json:
        answer = answer_of_measurement(measurement, measurement_id=measurement_id, onnx_hash=source.onnx_hash)
        output.document(answer.to_json())
    else:
        show(measurement, output)
        output.note(f"stored: nuwa query latencies --model {source.onnx_hash}")


def seconds_from_text(text: str) -> float:
    """Read a length of time: ``10m``, ``90s``, or seconds.

    Raises:
        NuwaError: If it is none.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError as error:
        raise NuwaError(f"wanted a length of time, found {text!r}", hint="such as --sustained 10m") from error
    if not 0 < seconds < math.inf:
        raise NuwaError(f"wanted a length of time above 0, found {text!r}", hint="such as --sustained 10m")
    return seconds
