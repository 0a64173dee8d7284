"""From the base to the certificate: the steps that made a subnet, for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nuwa_search.core.proportion import said_share, wilson_interval
from nuwa_search.service.api.context import moment
from nuwa_search.service.api.subnet_parts import CertificatePart
from nuwa_search.store.lineage import Lineage, LineageEngine, LineageExport, LineageFinetuning
from nuwa_search.store.records import BaseRecord, SubnetRecord, TaskRecord


@dataclass(frozen=True)
class LineageStep:
    """One step.

    Args:
        step: Its kind, such as ``export``.
        title: Title for people.
        at: When; None where it has no time.
        details: Facts of the step from the database.
    """

    step: str
    title: str
    at: str | None
    details: Mapping[str, object]


def lineage_steps(
    record: SubnetRecord, base: BaseRecord, task: TaskRecord, stored: Lineage, certificates: Sequence[CertificatePart]
) -> list[LineageStep]:
    """List the steps in the order in which one follows from the other.

    Args:
        record: The subnet.
        base: What it was cut from.
        task: Task that it was cut for.
        stored: What became of it.
        certificates: Newest first.
    """
    derived = "the base as it is" if record.arch == base.arch else "cut in closed form"
    if record.derivation.get("origin") == "small-model":
        derived = "a small ViT, pretrained"
    steps = [
        LineageStep("base", base.name, None, {"base_id": base.base_id}),
        LineageStep("task", f"{len(task.classes)} classes of {task.data}", None, {"task_id": task.task_id}),
        LineageStep("derivation", derived, moment(stored.created_at), record.derivation),
    ]
    steps += [_made("finetuning", _finetuning(row), row) for row in stored.finetunings]
    steps += [_made("export", f"ONNX, opset {row.opset}", row) for row in stored.exports]
    steps += [_made("engine", _engine(row), row) for row in stored.engines]
    steps += [
        LineageStep("certificate", row.verdict, row.created_at, {"certificate_id": row.certificate_id})
        for row in reversed(certificates)
    ]
    return steps


def _made(step: str, title: str, made: LineageFinetuning | LineageExport | LineageEngine) -> LineageStep:
    details = {name: value for name, value in vars(made).items() if name != "created_at"}
    return LineageStep(step, title, moment(made.created_at), details)


def _finetuning(made: LineageFinetuning) -> str:
    before, after = made.result.get("top1_search_before"), made.result.get("top1_search")
    steps = f"{made.result.get('steps', '?')} steps"
    if before is None or after is None:
        return steps
    images = made.result.get("num_images")
    if images is None:  # rows of before
        return f"{steps}, {100 * before:.1f} % to {100 * after:.1f} % on the search split"
    told = said_share(after, wilson_interval(round(after * images), images), images)
    return f"{steps}, {100 * before:.1f} % to {told} on the search split"


def _engine(made: LineageEngine) -> str:
    return f"built for {made.device}" if made.path else f"to be built on {made.device}"
