"""``nuwa decompose``: one base over several devices."""

from typing import TYPE_CHECKING, Any, cast

import click

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.interrupts import end_like_ctrl_c
from nuwa_search.lab.decompose import check_decompose, decompose_beginning, run_decomposition
from nuwa_search.search.device_budget import budgets_from_texts
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.progress import current_line

if TYPE_CHECKING:
    from nuwa_search.search.collaborate.answer import Decomposed

INTERRUPTED = 130
FIELDS = (
    *("base", "data", "label_column", "classes", "img_size", "groups", "sub_models", "network", "cameras"),
    "first_coordinates",
    *("max_memory_mb", "mean_ms", "needed", "first_share", "trials", "finetune_steps", "accelerator", "seed"),
)


@click.command("decompose", cls=NuwaCommand)
@with_flags(
    *("devices", "budget-ms", "base", "data", "label-column", "classes", "img-size", "groups", "sub-models"),
    *("network", "cameras", "first-coordinates", "max-memory-mb", "mean-ms", "needed", "first-share"),
    *("trials", "finetune-steps", "accelerator", "study", "cache-dir"),
    writes=True,
)
@click.pass_context
def command(ctx: click.Context, /, **values: Any) -> int:
    """Cut one base into a sub-model for each of several devices, fused to one answer within a budget.

    --devices names each board, --budget-ms the latency of an image end to end: image and answers on the wire, the
    slowest board, and the fusion. The answer holds three ways to use the boards, and the best single subnet on one
    board within the same budget; where that is at least as good, it is shipped. The same command with --study NAME
    goes on with what was done.
    """
    output = output_from_flags(values, use_path=False)
    end_like_ctrl_c()
    budgets = budgets_from_texts(tuple(values["budget_ms"] or ()))
    for flag, is_missing in (("--devices", not values["devices"]), ("--budget-ms", not budgets)):
        if is_missing:
            raise click.MissingParameter(ctx=ctx, param_hint=flag, param_type="option")
    if len(budgets) > 1 or budgets[0].device is not None:
        raise NuwaError(
            "a decomposition has one budget, end to end, and its devices in --devices",
            hint="--devices a,b,c --budget-ms 30",
        )
    options = {name: values[name] for name in FIELDS} | {"output": values["output"] or ""}
    named = options | {"devices": values["devices"], "budget_ms": budgets[0].budget_ms}
    beginning = decompose_beginning(named, study=values["study"])
    line = current_line()
    with laboratory(values, say=output.note) as lab:
        check_decompose(beginning, lab.store)
        line.step(f"study {beginning.study}: loading")
        from nuwa_search.service.cli.search_view import SearchWatch

        hooks = SearchWatch(line, trials=beginning.request.trials).hooks()
        try:
            answer = run_decomposition(beginning, store=lab.store, cache_dir=lab.cache_dir, hooks=hooks)
        except KeyboardInterrupt:
            line.end()
            add = [] if values["study"] else ["--study", beginning.study]
            go_on = command_to_go_on(["nuwa", "decompose"], leave_out=[], add=add)
            output.note(f"\ninterrupted; everything is saved. To go on:\n  {go_on}")
            return INTERRUPTED
    _show(answer, output)
    if not answer.is_feasible:
        raise NoAnswerError(answer.verdict, hint=f"the single subnet lies in {answer.shipped_dir}")
    return 0


def _show(answer: "Decomposed", output: Output) -> None:
    told = answer.to_json()
    if output.json:
        output.document(told)
        return
    rows = [_mode_row(mode) for mode in told["modes"]]
    rows.append(_alone("one subnet", told["rival"]))
    rows.append(_alone("the base", told["base"]))
    output.table(rows, title=f"\n{answer.study}: {answer.budget_ms:g} ms end to end")
    for part in told["sub_models"]:
        output.note(
            f"{part['name']} on {part['board']}: {len(part['classes']) or 'all'} classes{_beside(told)}, "
            f"{part['latency_ms']:.2f} ms {part['provenance']}, {part['answer_bytes']} bytes an answer, "
            f"{_part_alone(part)}"
        )
    if told["grid"] is not None:
        rows_high, columns = told["grid"]
        output.note(
            f"an answer is 4 bytes for each of {len(told['classes'])} classes of {rows_high} x {columns} patches"
        )
    for note in told["notes"]:
        output.note(f"note: {note}")
    output.note(answer.verdict)
    output.note(f"shipped: {answer.shipped_dir}")


def _beside(told: dict[str, Any]) -> str:
    shared = told["grouping"]["shared"]
    return f" beside {', '.join(shared)}" if shared else ""


def _part_alone(part: dict[str, Any]) -> str:
    if part["miou_alone"] is not None:
        return f"alone {100 * part['miou_alone']:.1f} % mIoU over all classes"
    return f"alone {100 * part['top1_alone']:.1f} % of all classes"


def _accuracy(found: dict[str, Any]) -> dict[str, object]:
    name, label = ("top1", "top1") if found["miou"] is None else ("miou", "mIoU")
    low, high = found[f"{name}_interval"]
    return {label: f"{100 * found[name]:.1f} % ({100 * low:.1f}-{100 * high:.1f})"}


def _mode_row(mode: dict[str, Any]) -> dict[str, object]:
    asked = {"any": f"any {mode['needed']}", "route": f"route from part-{(mode['first'] or 0) + 1}"}
    return {
        "way": asked.get(mode["mode"], mode["mode"]),
        **_accuracy(mode),
        "p50_ms": f"{mode['predicted_p50_ms']:.2f} predicted",
        "p95_ms": f"{mode['predicted_p95_ms']:.2f}",
        "mean_ms": f"{mode['predicted_mean_ms']:.2f}",
        "images_per_s": f"{mode['predicted_images_per_s']:.0f}",
        "bytes": f"{mode['bytes_per_image']:.0f}",
    }


def _alone(what: str, found: dict[str, Any]) -> dict[str, object]:
    return {
        "way": f"{what} on one {cast('str', found['device'])}",
        **_accuracy(found),
        "p50_ms": f"{found['latency_ms']:.2f}",
        "p95_ms": "",
        "mean_ms": "",
        "images_per_s": f"{1000 / found['latency_ms']:.0f}",
        "bytes": "0",
    }
