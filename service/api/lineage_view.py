"""From the base to the certificate: the steps that made a subnet, for people."""

from collections.abc import Sequence
from typing import Any

from nuwa_search.service.api.context import moment, with_moments
from nuwa_search.store.records import BaseRecord, JsonDict, SubnetRecord, TaskRecord

Step = dict[str, Any]


def lineage_steps(
    record: SubnetRecord, base: BaseRecord, task: TaskRecord, stored: JsonDict, certificates: Sequence[JsonDict]
) -> list[Step]:
    """List the steps in the order in which one follows from the other.

    Args:
        record: The subnet.
        base: What it was cut from.
        task: What for.
        stored: Of ``nuwa_search.store.lineage.find_lineage``.
        certificates: Rendered, newest first.
    """
    derived = "the base as it is" if record.arch == base.arch else "cut in closed form"
    if record.derivation.get("origin") == "small-model":
        derived = "a small ViT, pretrained"
    steps = [
        _step("base", base.name, None, {"base_id": base.base_id}),
        _step("task", f"{len(task.classes)} classes of {task.data}", None, {"task_id": task.task_id}),
        _step("derivation", derived, moment(stored["created_at"]), record.derivation),
    ]
    steps += [_made("finetuning", _finetuning(row), row) for row in stored["finetunings"]]
    steps += [_made("export", f"ONNX, opset {row['opset']}", row) for row in stored["exports"]]
    steps += [_made("engine", _engine(row), row) for row in stored["engines"]]
    steps += [
        _step("certificate", str(row["verdict"]), row["created_at"], {"certificate_id": row["certificate_id"]})
        for row in reversed(certificates)
    ]
    return steps


def _step(step: str, title: str, at: str | None, details: JsonDict) -> Step:
    return {"step": step, "title": title, "at": at, "details": details}


def _made(step: str, title: str, row: JsonDict) -> Step:
    details = with_moments(row)
    return _step(step, title, details.pop("created_at"), details)


def _finetuning(row: JsonDict) -> str:
    before, after = row["result"].get("top1_search_before"), row["result"].get("top1_search")
    steps = f"{row['result'].get('steps', '?')} steps"
    if before is None or after is None:
        return steps
    return f"{steps}, {100 * before:.1f} % to {100 * after:.1f} % on the search split"


def _engine(row: JsonDict) -> str:
    return f"built for {row['device']}" if row["path"] else f"to be built on {row['device']}"
