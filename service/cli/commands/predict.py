"""``nuwa predict``: latency of an arch without touching the device."""

from typing import Any

import click

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.figures import interval
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags

SHOWN = ("arch_id", "predicted_latency_ms", "predicted_interval_ms", "coverage")


@click.command("predict", cls=NuwaCommand)
@click.argument("arch")
@with_flags("device", "base", "predictor", "img-size", defaults={"base": None})
def command(arch: str, **values: Any) -> None:
    """Predict the latency of ARCH: an arch id, an arch JSON file, a bundle, or a base.

    For an emulated device missing table rows are built first; for a real one the answer names the
    command that measures them. --img-size asks for the same net at a smaller image.
    """
    output = output_from_flags(values)
    with laboratory(values, say=output.note) as lab:
        asked = {name: values[name] for name in ("device", "base", "predictor", "img_size")}
        found = lab.predict(arch, **asked)
    answer = found.to_json()
    if output.json:
        output.document(answer)
        return
    if found.board_interval_ms is not None:
        output.note(f"emulated; a real board: {interval(found.board_interval_ms)} ms")
    row = {"device": found.device["name"], "provenance": found.provenance}
    output.table([row | {name: answer[name] for name in SHOWN}])
