"""Export a bundle in INT8 where that is measured to pay, and say so where it does not."""

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget_statistic import BudgetStatistic
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import classes_in_turn
from nuwa_search.core.measuring.sustained import judged_by
from nuwa_search.core.metric import Metric
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.core.tensors import TaskTensors, task_tensors
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.bundle_source import open_bundle_task, source_of
from nuwa_search.deploy.export_bundle import (
    ExportAnswer,
    ExportRequest,
    budget_of,
    certify,
    export_answer,
    write_export,
    write_graph,
)
from nuwa_search.deploy.quantise.decision import Int8Decision, decide_int8
from nuwa_search.deploy.quantise.facts import BlockFacts, Int8Facts
from nuwa_search.deploy.quantise.mixed import MixedModel, quantise_mixed
from nuwa_search.deploy.quantise.qdq import Int8Quantiser, check_int8
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.ship import VERIFY_IMAGES, compare_graph, engine_line
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.verify import network_input, verify_onnx
from nuwa_search.deploy.write_bundle import BundleParts, parts_from_bundle

CALIBRATION_IMAGES = 64
"""Training images for INT8 calibration: ranges of activations are minima and maxima, which settle quickly."""
DEFAULT_MAX_LOSS = 0.01
"""Largest loss of accuracy on the search split: about what fine-tuning wins."""


@dataclass(frozen=True)
class Int8Images:
    """Where images for INT8 calibration and for the judgement come from.

    Args:
        base: Whose split of the data is taken; None for the one that the bundle names.
        data: Images; None for those that the bundle names, or the package's sample.
        label_column: Of Parquet files.
        seed: Of the split.
    """

    base: str | None = None
    data: str | None = None
    label_column: str | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Int8ExportAnswer(ExportAnswer):
    """Result of an export in INT8: the `nuwa.export/1` answer without its schema.

    Args:
        accepted: Whether INT8 was kept.
        reason: Why, or why not.
        onnx_mb: Of the graph that was kept.
        plain_onnx_mb: Of the graph in floating point.
        int8: How the two compare.
        notes: What was left out of the images, in sentences.
    """

    accepted: bool
    reason: str
    onnx_mb: float
    plain_onnx_mb: float
    int8: Int8Facts
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A quantised graph and how it fared on search images; ``model`` is None where accuracy rules INT8 out."""

    model: MixedModel | None
    agreement: Agreement | None
    num_calibration: int
    is_of_pixels: bool = False

    @property
    def objection(self) -> str | None:
        """Return why INT8 was rejected although the accuracy was kept; None where it was not."""
        if self.model is not None or self.agreement is None:
            return None
        changed, count = 100 * (1 - self.agreement.argmax_agreement), self.agreement.num_images
        what = f"of the pixels of {count} search images" if self.is_of_pixels else f"of {count} search images"
        return f"INT8 changes the prediction of {changed:.1f} % {what}"


def quantise_bundle(folder: Path, request: ExportRequest, *, images: Int8Images, max_loss: float) -> Int8ExportAnswer:
    """Export a bundle in INT8 if that loses little accuracy and is measured faster on the device; else as it is.

    Ranges come from training images, the accuracy from search images. Blocks that suffer most go back to
    floating point. An emulated board cannot measure INT8: the graph is then left beside the model to be tried.

    Args:
        folder: The bundle.
        request: Of the export in the device's own precision.
        images: Where images come from.
        max_loss: Largest loss on the search split, of the accuracy that the model was chosen by (fraction).

    Raises:
        NuwaError: If the device has no INT8, or the images are not of the bundle's classes.
        NoAnswerError: If the export does not agree with the weights.
    """
    spec = dataclasses.replace(request.spec, precision="int8")
    check_int8(spec)
    if not max_loss >= 0:
        raise NuwaError(
            f"the largest loss of accuracy must be 0 or more, found {max_loss}", hint="such as --max-loss 0.01"
        )
    if request.spec.precision == "int8":  # a board that was added as an INT8 one
        request = dataclasses.replace(request, spec=dataclasses.replace(request.spec, precision="fp16"))
    bundle = read_bundle(folder)
    if request.output_kind != "logits":
        raise NuwaError(
            "what INT8 costs is measured on logits, and labels were asked for",
            hint="leave --output-kind out, or leave --precision out",
        )
    parts = parts_from_bundle(bundle)
    tensors, notes = _tensors_of(bundle, images)
    some = classes_in_turn(tensors.search, VERIFY_IMAGES).images
    plain = write_graph(bundle, parts, request, some)
    agreements = compare_graph(parts.model, plain, request.spec, images=some, preprocess=parts.preprocess)
    budget = budget_of(bundle, request)
    candidate = _quantised(bundle, parts, request, spec, tensors, max_loss=max_loss)
    decision = _decide(
        plain,
        candidate,
        request,
        spec,
        max_loss=max_loss,
        metric=tensors.metric,
        statistic=budget.statistic if budget else None,
    )
    decision = dataclasses.replace(decision, reason=candidate.objection or decision.reason)
    facts = _facts(parts.arch, candidate, decision, max_loss=max_loss, tensors=tensors)
    is_accepted, graph = decision.is_accepted, plain
    if is_accepted and candidate.model is not None and candidate.agreement is not None:
        graph, agreements = candidate.model.model, (candidate.agreement,)
    chosen = dataclasses.replace(request, spec=spec if is_accepted else request.spec)
    measured = decision.after if is_accepted and decision.after else decision.before
    certificate = certify(
        bundle,
        chosen,
        measurement=dataclasses.replace(measured, device=chosen.spec),
        agreements=agreements,
        int8=facts,
    )
    untried = None
    line = engine_line(spec)
    if candidate.model is not None and decision.after is None and line is not None:
        untried = (candidate.model.model, [_renamed(word) for word in line])
    written = write_export(folder, dataclasses.replace(parts, int8=untried), graph, certificate)
    return Int8ExportAnswer(
        **vars(export_answer(written, certificate)),
        accepted=is_accepted,
        reason=decision.reason,
        onnx_mb=round(graph.ByteSize() / 1e6, 3),
        plain_onnx_mb=round(plain.ByteSize() / 1e6, 3),
        int8=facts,
        notes=notes,
    )


def _tensors_of(bundle: Bundle, images: Int8Images) -> tuple[TaskTensors, tuple[str, ...]]:
    source = source_of(bundle, base=images.base, data=images.data, label_column=images.label_column)
    _, task = open_bundle_task(bundle, source, seed=images.seed)
    tensors = task_tensors(task, bundle.preprocess)
    return tensors, (*task.notes, *tensors.notes)


def _quantised(
    bundle: Bundle,
    parts: BundleParts,
    request: ExportRequest,
    spec: DeviceSpec,
    tensors: TaskTensors,
    *,
    max_loss: float,
) -> _Candidate:
    """Quantise as much as accuracy allows and compare with the weights."""
    # INT8 is made of an FP32 graph, whatever the device's own precision asks for.
    fp32 = dataclasses.replace(request, spec=dataclasses.replace(spec, precision="fp32"))
    source = write_graph(bundle, parts, fp32, classes_in_turn(tensors.search, VERIFY_IMAGES).images, joint_qkv=True)
    count = max(1, min(CALIBRATION_IMAGES, len(tensors.train)) // spec.batch) * spec.batch
    chosen = tensors.train.images[np.linspace(0, len(tensors.train) - 1, count).astype(int).tolist()]
    preprocess = parts.preprocess
    quantiser = Int8Quantiser(source, network_input(chosen, preprocess, input_kind=request.input_kind), device=spec)
    mixed = quantise_mixed(
        quantiser,
        source,
        network_input(tensors.search.images, preprocess, input_kind=request.input_kind),
        tensors.search.labels.numpy(),
        max_loss=max_loss,
        runtime=OnnxRuntime(),
        metric=tensors.metric,
        truths=tensors.search.truths,
    )
    if mixed is None:
        return _Candidate(None, None, count)
    if spec.runtime == "tensorrt":
        check_operators(mixed.model, version=spec.runtime_version)
    agreement = verify_onnx(
        parts.model, mixed.model, classes_in_turn(tensors.search, VERIFY_IMAGES).images, preprocess, check="int8"
    )
    return _Candidate(mixed if agreement.is_met else None, agreement, count, parts.arch.is_dense)


def _decide(
    plain: onnx.ModelProto,
    candidate: _Candidate,
    request: ExportRequest,
    spec: DeviceSpec,
    *,
    max_loss: float,
    metric: Metric,
    statistic: BudgetStatistic | None,
) -> Int8Decision:
    """Measure both graphs where the device can; a board is opened once per precision."""
    with ExitStack() as stack:
        device = judged_by(stack.enter_context(request.open_device(request.spec, seed=request.seed)), statistic)
        if spec.kind == "emulated" and candidate.model is not None:
            reason = f"{spec.name} is emulated, which can time FP32 and FP16 only: INT8 has to be measured on a board"
            return Int8Decision(False, reason, device.measure(plain, protocol=PROTOCOL), None, None)
        other = device
        if spec.kind != "host" and candidate.model is not None:
            other = judged_by(stack.enter_context(request.open_device(spec, seed=request.seed)), statistic)
        return decide_int8(
            plain, candidate.model, device, max_loss=max_loss, metric=metric, int8_device=other, protocol=PROTOCOL
        )


def _facts(
    arch: Arch, candidate: _Candidate, decision: Int8Decision, *, max_loss: float, tensors: TaskTensors
) -> Int8Facts:
    """Tell the whole story; blocks are numbered as in the arch, not as in the graph without the empty ones."""
    places = [place for place, block in enumerate(arch.blocks) if not block.is_empty]
    mixed = candidate.model
    before, after = (mixed.before, mixed.after) if mixed else (None, None)
    facts = Int8Facts(
        accepted=decision.is_accepted,
        reason=decision.reason,
        max_loss=max_loss,
        latency_ratio=decision.ratio,
        latency_ms=decision.after.latency_ms.median if decision.after else None,
        plain_latency_ms=decision.before.latency_ms.median,
        top1_search=after.top1 if after else None,
        plain_top1_search=before.top1 if before else None,
        num_search=len(tensors.search),
        num_calibration=candidate.num_calibration,
        float_blocks=tuple(places[block] for block in mixed.float_blocks) if mixed else None,
        sensitivity=tuple(
            BlockFacts(places[found.block], found.relative_error, found.argmax_agreement)
            for found in mixed.sensitivities
        )
        if mixed
        else None,
        metric=tensors.metric,
    )
    if isinstance(after, PixelScores) and isinstance(before, PixelScores):
        return dataclasses.replace(
            facts,
            miou_search=after.miou,
            miou_search_interval=after.miou_interval,
            plain_miou_search=before.miou,
            plain_miou_search_interval=before.miou_interval,
        )
    if isinstance(after, ClassScores) and isinstance(before, ClassScores):
        return dataclasses.replace(
            facts, balanced_search=after.balanced_accuracy, plain_balanced_search=before.balanced_accuracy
        )
    return facts


def _renamed(word: str) -> str:
    """Point a word of the build line at the INT8 files."""
    return word.replace("model.onnx", "model.int8.onnx").replace("model.engine", "model.int8.engine")
