"""``nuwa measure``: latency of a bundle, an arch or any ONNX file."""

from typing import Any

import click

from nuwa_search.core.budget import require_statistic
from nuwa_search.service.cli.board_line import board_line
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.duration import seconds_from_text
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import ProgressLine, time_text


@click.command("measure", cls=NuwaCommand)
@click.argument("model")
@with_flags("device", "sustained")
def command(model: str, **values: Any) -> None:
    """Measure MODEL: a bundle, an arch, a base, or any ONNX file."""
    output = output_from_flags(values)
    seconds = None if values["sustained"] is None else seconds_from_text(values["sustained"])
    device, seed = values["device"], values["seed"]
    with laboratory(values, say=output.note) as lab:
        spec = lab.device(device)
        if seconds is not None:
            require_statistic("sustained", spec)
            from nuwa_search.service.cli.measure_view import show_sustained

            with ProgressLine(enabled=output.shows_progress) as line:
                line.stage(f"{spec.name}, busy for {time_text(seconds)}")
                run = lab.measure_sustained(model, seconds=seconds, device=device, seed=seed)
            show_sustained(run, output)
            return
        with board_line(spec, output):
            answer = lab.measure(model, device=device, seed=seed)
    if output.json:
        output.document(answer.to_json())
        return
    from nuwa_search.service.cli.measure_view import show

    show(answer, output)
    output.note(f"stored: nuwa query latencies --model {answer.onnx_hash}")
