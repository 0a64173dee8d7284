"""``nuwa predict``: latency of an arch without touching the device."""

from typing import Any

import click

from nuwa_search.core.counting import count
from nuwa_search.core.device import device_json
from nuwa_search.latency.devices.find import find_device
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.figures import interval
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("predict", cls=NuwaCommand)
@click.argument("arch")
@with_flags("device", "base", "predictor", defaults={"base": None})
def command(arch: str, **values: Any) -> None:
    """Predict the latency of ARCH: an arch id, an arch JSON file, a bundle, or a base.

    For an emulated device missing table rows are built first; for a real one the answer names the
    command that measures them.
    """
    output = output_from_flags(values)
    with database(values) as store:
        spec = find_device(values["device"], store)
        from nuwa_search.service.workflow.device_predictor import base_arch_for, board_interval, find_device_predictor
        from nuwa_search.service.workflow.models import arch_from_text

        wanted = arch_from_text(arch, store)
        base = base_arch_for(wanted, values["base"])
        start = find_device_predictor(
            store,
            spec,
            base,
            predictor_id=values["predictor"],
            progress=count,
        )
    found = start.predictor.predict([wanted])
    value, low, high = (float(part[0]) for part in (found.value, found.lower, found.upper))
    board = board_interval(spec, wanted, value)
    answer = {
        "schema": "nuwa.predict/1",
        "device": device_json(spec),
        "arch_id": wanted.arch_id,
        "predicted_latency_ms": value,
        "predicted_interval_ms": [low, high],
        "board_interval_ms": board,
        "coverage": start.predictor.coverage,
        "table": {"id": start.predictor.table_id, "rows": len(start.predictor.rows)},
        "predictor_id": start.predictor_id,
    }
    if output.json:
        output.document(answer)
    else:
        row = {"device": spec.name, "provenance": start.predictor.subject.provenance}
        if board is not None:
            output.note(f"emulated; a real board: {interval(board)} ms")
        output.table(
            [row | {k: answer[k] for k in ("arch_id", "predicted_latency_ms", "predicted_interval_ms", "coverage")}]
        )
