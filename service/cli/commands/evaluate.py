"""``nuwa evaluate``: accuracy of a bundle or base."""

from typing import Any

import click

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.figures import percent
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags


@click.command("evaluate", cls=NuwaCommand)
@click.argument("model")
@with_flags("data", "label-column", "classes", "split", "head")
def command(model: str, **values: Any) -> None:
    """Evaluate MODEL (a bundle or a base) on images; --classes restricts images and head to them."""
    output = output_from_flags(values)
    from nuwa_search.service.workflow.evaluate import evaluate

    answer = evaluate(
        model,
        data=values["data"],
        label_column=values["label_column"],
        classes=values["classes"],
        split=values["split"],
        whole_head=values["head"] == "all",
    )
    if output.json:
        output.document({"schema": "nuwa.evaluate/1", **answer})
        return
    row = {"top1": percent(answer["top1"]), "top5": percent(answer["top5"])}
    output.table([row | {k: answer[k] for k in ("num_images", "split", "head")}])
