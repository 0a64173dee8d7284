"""``nuwa evaluate``: accuracy of a bundle or base, or of a bundle's engine on its device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_cache_dir
from nuwa_search.latency.devices.find import find_device
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.figures import percent, share
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import current_line

if TYPE_CHECKING:
    from nuwa_search.service.workflow.evaluate import EvaluateAnswer, EvaluateRequest
    from nuwa_search.service.workflow.evaluate_on_device import DeviceEvaluateAnswer


INTERRUPTED = 130


@click.command("evaluate", cls=NuwaCommand)
@click.argument("model")
@with_flags(
    *("data", "label-column", "classes", "split", "head", "metric", "device", "images", "cache-dir"),
    defaults={"device": None, "metric": None},
)
def command(model: str, **values: Any) -> int:
    """Evaluate MODEL (a bundle or a base) on images; --classes restricts images and head to them.

    A base that does not know the classes gets a head fitted to their training images, as in a search (of --metric).

    With --device the bundle's engine runs on the device itself, is compared with PyTorch, and its own accuracy is
    given: exit status 1 if it does not agree. A board is asked for --images N images, one process each.
    """
    output = output_from_flags(values)
    if values["images"] is not None and values["device"] is None:
        raise NuwaError("--images says how many images a device is asked for", hint="name it with --device")
    if values["device"] is not None:
        with database(values) as store:  # a mistyped device is told before anything heavy is loaded
            find_device(values["device"], store)
    from nuwa_search.service.workflow.evaluate import EvaluateRequest, evaluate
    from nuwa_search.service.workflow.evaluate_on_device import DeviceEvaluateAnswer

    request = EvaluateRequest(
        model,
        data=values["data"],
        label_column=values["label_column"],
        classes=values["classes"],
        split=values["split"],
        whole_head=values["head"] == "all",
        metric=values["metric"],
    )
    try:
        answer: EvaluateAnswer | DeviceEvaluateAnswer = (
            evaluate(request) if values["device"] is None else _on_device(request, values, output)
        )
    except KeyboardInterrupt:
        if values["device"] is None:
            raise
        current_line().end()
        go_on = command_to_go_on(["nuwa", "evaluate", model])
        output.note(f"\ninterrupted; every answer that came is kept. To go on:\n  {go_on}")
        return INTERRUPTED
    _show(answer, output)
    agreement = answer.agreement if isinstance(answer, DeviceEvaluateAnswer) else None
    if agreement is not None and not agreement.is_met:
        raise NoAnswerError(
            f"the engine of {model} on {values['device']} does not agree with PyTorch: same prediction on "
            f"{percent(agreement.argmax_agreement)} of {agreement.num_images} images, least cosine "
            f"{agreement.min_cosine:.3f}",
            hint="compare channel order, byte order and files: nuwa verify DIR; in FP16 an overflow shows like this "
            "too, so try a board registered with --precision fp32",
        )
    return 0


def _on_device(request: "EvaluateRequest", values: Mapping[str, Any], output: Output) -> "DeviceEvaluateAnswer":
    from nuwa_search.service.workflow.evaluate_on_device import evaluate_on_device
    from nuwa_search.service.workflow.on_device import NUM_IMAGES

    with database(values) as store:
        spec = find_device(values["device"], store)
    say = output.note if output.shows_progress else (lambda _: None)
    return evaluate_on_device(
        request,
        spec=spec,
        num_images=values["images"] or NUM_IMAGES,
        seed=values["seed"],
        cache_dir=expanded(values["cache_dir"] or default_cache_dir()),
        say=say,
    )


def _show(answer: "EvaluateAnswer | DeviceEvaluateAnswer", output: Output) -> None:
    from nuwa_search.service.workflow.evaluate_on_device import DeviceEvaluateAnswer

    for note in answer.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.evaluate/1", **answer.to_json()})
        return
    low, high = answer.top1_interval
    row: dict[str, object] = {
        "top1": percent(answer.top1),
        "95 %": f"{percent(low)} - {percent(high)}",
        "top5": share(answer.top5, answer.top5_interval),
        "balanced": share(answer.scores.balanced_accuracy, answer.scores.balanced_accuracy_interval),
        "num_images": answer.num_images,
        "split": answer.split,
        "head": answer.head,
    }
    if isinstance(answer, DeviceEvaluateAnswer):
        row |= {
            "on": answer.agreement.runtime,
            "same as PyTorch": percent(answer.agreement.argmax_agreement),
            "PyTorch": share(answer.top1_pytorch, answer.top1_pytorch_interval),
        }
    output.table([row])
    if output.is_terminal and output.path is None and not output.csv:  # a table for programs is one table
        output.table(_by_class(answer), title="recall by class")


def _by_class(answer: "EvaluateAnswer | DeviceEvaluateAnswer") -> list[dict[str, object]]:
    scores = answer.scores
    return [
        {
            "class": name,
            "images": scores.num_images_by_class[name],
            "recall": share(value, scores.recall_interval[name]),
        }
        for name, value in scores.recall.items()
    ]
