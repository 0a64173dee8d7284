"""``nuwa evaluate``: accuracy of a bundle or base, or of a bundle's engine on its device."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.errors import NoAnswerError
from nuwa_search.search.hooks import Hooks
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.figures import percent, share
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import current_line

if TYPE_CHECKING:
    from nuwa_search.core.class_scores import NamedScores
    from nuwa_search.core.tasks.pixel_scores import NamedPixelScores
    from nuwa_search.deploy.evaluate import EvaluateAnswer
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer


INTERRUPTED = 130


@click.command("evaluate", cls=NuwaCommand)
@click.argument("model")
@with_flags(
    *("data", "label-column", "classes", "split", "head", "metric", "img-size", "device", "images", "cache-dir"),
    defaults={"device": None, "metric": None},
)
def command(model: str, **values: Any) -> int:
    """Evaluate MODEL (a bundle or a base) on images; --classes restricts images and head to them.

    A base that does not know the classes gets a head fitted to their training images, as in a search (of --metric).

    With --device the bundle's engine runs on the device itself, is compared with PyTorch, and its own accuracy is
    given: exit status 1 if it does not agree. A board is asked for --images N images, one process each.
    """
    output = output_from_flags(values)
    on_device = values["device"] is not None
    what = {name: values[name] for name in ("data", "label_column", "classes", "split", "metric", "img_size")}
    what["whole_head"] = values["head"] == "all"
    if on_device:
        what |= {"device": values["device"], "seed": values["seed"], "callback": Hooks(step=_said_in(output))}
    try:
        with laboratory(values, say=output.note) as lab:
            answer = lab.evaluate(model, images=values["images"], **what)
    except KeyboardInterrupt:
        if not on_device:
            raise
        current_line().end()
        go_on = command_to_go_on(["nuwa", "evaluate", model])
        output.note(f"\ninterrupted; every answer that came is kept. To go on:\n  {go_on}")
        return INTERRUPTED
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer

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


def _said_in(output: Output) -> Callable[[str], None]:
    """Return a callback that prints each step where progress is wanted."""
    return output.note if output.shows_progress else (lambda _: None)


def _show(answer: "EvaluateAnswer | DeviceEvaluateAnswer", output: Output) -> None:
    from nuwa_search.core.tasks.pixel_scores import NamedPixelScores
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer

    if output.json:
        output.document({"schema": "nuwa.evaluate/1", **answer.to_json()})
        return
    if isinstance(answer.scores, NamedPixelScores):
        _show_pixels(answer, answer.scores, output)
        return
    low, high = answer.top1_interval or (0.0, 1.0)
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
        output.table(_by_class(answer.scores), title="recall by class")


def _show_pixels(answer: "EvaluateAnswer | DeviceEvaluateAnswer", scores: "NamedPixelScores", output: Output) -> None:
    row: dict[str, object] = {
        "mIoU": share(scores.miou, scores.miou_interval),
        "pixels right": percent(scores.pixel_accuracy),
        "num_images": answer.num_images,
        "split": answer.split,
        "head": answer.head,
    }
    output.table([row])
    if output.is_terminal and output.path is None and not output.csv:
        rows: list[dict[str, object]] = [
            {"class": name, "images": scores.num_images_by_class[name], "IoU": share(value, scores.iou_interval[name])}
            for name, value in scores.iou.items()
        ]
        output.table(rows, title="IoU by class")


def _by_class(scores: "NamedScores") -> list[dict[str, object]]:
    return [
        {
            "class": name,
            "images": scores.num_images_by_class[name],
            "recall": share(value, scores.recall_interval[name]),
        }
        for name, value in scores.recall.items()
    ]
