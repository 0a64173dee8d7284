"""Export a bundle for a device anew and prove it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import Tensor

from nuwa_search.core.budget import Budget, require_statistic
from nuwa_search.core.budget_statistic import BudgetStatistic
from nuwa_search.core.device import PROTOCOL, DeviceSpec, Measurement, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.measuring.sustained import judged_by
from nuwa_search.core.opens_device import OpensDevice
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.bundle_facts import CertifiedBudget
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions, InputKind, OutputKind
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.on_device import agreement_on_device, require_agreement
from nuwa_search.deploy.quantise.facts import Int8Facts
from nuwa_search.deploy.ship import compare_graph, engine_line
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.deploy.verify_bundle import check_images
from nuwa_search.deploy.write_bundle import BundleParts, parts_from_bundle, write_bundle


@dataclass(frozen=True)
class ExportRequest:
    """What an export of a bundle is asked for.

    Args:
        spec: The device, in the precision wanted.
        open_device: Opens it.
        budget_ms: Latency to hold; None takes over the one that was certified for the same device.
        statistic: Statistic of the budget; None takes over the certified one.
        seed: Of the measurement.
        trim_tokens: Compute only the pooled tokens from the last attention on: the same logits, less work.
        input_kind: What the graph takes: ``normalised`` images, or ``unit`` (FP32 0..1) or ``uint8`` pixels.
        output_kind: What it gives where pixels have classes: ``logits`` of each, or ``labels``.
    """

    spec: DeviceSpec
    open_device: OpensDevice
    budget_ms: float | None = None
    statistic: BudgetStatistic | None = None
    seed: int = 0
    trim_tokens: bool = False
    input_kind: InputKind = "normalised"
    output_kind: OutputKind = "logits"


@dataclass(frozen=True, kw_only=True)
class ExportAnswer(JsonFields):
    """Result of an export: the `nuwa.export/1` answer without its schema.

    Args:
        dir: The bundle.
        device: Its name.
        precision: What the graph computes in.
        opset: Of the graph.
        verdict: Of the certificate.
        verdict_reason: Which limit was exceeded, and by how much; empty where none was.
        latency_ms: Measured median; None where it was not measured.
        provenance: Of that figure.
        build: Script that builds the engine on the device; None where there is none to build.
    """

    dir: Path
    device: str
    precision: Precision
    opset: int
    verdict: str
    verdict_reason: str
    latency_ms: float | None
    provenance: str | None
    build: Path | None


def export_bundle(folder: Path, request: ExportRequest) -> ExportAnswer:
    """Write model.onnx, the build line and a certificate for a device into a bundle.

    Without training images at hand the comparison with PyTorch runs on the bundle's sample images, flipped
    and shifted, or on noise: either finds a wrong graph.

    Raises:
        NoAnswerError: If the export does not agree with the weights.
        NuwaError: If the device's runtime cannot take the graph.
    """
    bundle = read_bundle(folder)
    parts = parts_from_bundle(bundle)
    images = check_images(bundle)
    graph = write_graph(bundle, parts, request, images)
    agreements = compare_graph(parts.model, graph, request.spec, images=images, preprocess=parts.preprocess)
    budget = budget_of(bundle, request)
    with request.open_device(request.spec, seed=request.seed) as opened:
        device = judged_by(opened, budget.statistic if budget else None)
        measurement = device.measure(graph, protocol=PROTOCOL)
        on_device = agreement_on_device(device, graph, model=parts.model, images=images, preprocess=parts.preprocess)
    require_agreement(on_device)
    certificate = certify(bundle, request, measurement=measurement, agreements=(*agreements, *on_device))
    written = write_export(folder, dataclasses.replace(parts, int8=None), graph, certificate)
    return export_answer(written, certificate)


def write_graph(
    bundle: Bundle, parts: BundleParts, request: ExportRequest, images: Tensor, *, joint_qkv: bool = False
) -> onnx.ModelProto:
    """Write the graph of a bundle's weights for a device and check that its runtime can read it.

    Args:
        bundle: For its identity.
        parts: With the weights.
        request: The device; INT8 is made from the FP32 graph that comes back.
        images: (N, in_chans, H, W) uint8 that show how large the residual stream gets.
        joint_qkv: Whether q, k and v come from one Gemm in old opsets too.

    Raises:
        NuwaError: If the device's runtime cannot take the graph.
    """
    spec = request.spec
    if spec.runtime == "tensorrt" and request.input_kind == "uint8":
        raise NuwaError(
            f"uint8 input was asked for on {spec.name}: TensorRT before 8.5 has no such input, and where it has one it "
            "is not proven here",
            hint="use --input unit, which takes values 0..1",
        )
    graph = onnx_from_vit(
        parts.model,
        GraphOptions(
            opset=spec.opset,
            precision=graph_precision(spec),
            batch=spec.batch,
            input_kind=request.input_kind,
            output_kind=request.output_kind,
            preprocess=parts.preprocess,
            labels=parts.labels,
            metadata={"subnet_id": bundle.subnet_id, "arch_id": parts.arch.arch_id},
            trim_tokens=request.trim_tokens,
            joint_qkv=joint_qkv,
        ),
        stream_scale=stream_scale_from_images(parts.model, images, parts.preprocess),
    )
    if spec.runtime == "tensorrt":
        check_operators(graph, version=spec.runtime_version)
    return graph


def certify(
    bundle: Bundle,
    request: ExportRequest,
    *,
    measurement: Measurement | None,
    agreements: tuple[Agreement, ...],
    int8: Int8Facts | None = None,
) -> Certificate:
    """Make the certificate; a budget of the same device, in whatever precision, is taken over.

    Args:
        bundle: As it was.
        request: Of the export.
        measurement: Of the new graph.
        agreements: Of the new graph with the weights.
        int8: What a quantisation came to; None without one (what an earlier one came to was another graph's).
    """
    spec = request.spec
    return Certificate(
        arch_id=bundle.arch.arch_id,
        device=spec,
        measurement=measurement,
        budget=budget_of(bundle, request),
        agreements=agreements,
        input_kind=request.input_kind,
        opset=spec.opset,
        subnet_id=bundle.subnet_id,
        facts=dataclasses.replace(bundle.facts.after_export, int8=int8),
    )


def budget_of(bundle: Bundle, request: ExportRequest) -> Budget | None:
    """Find the budget that an export is held to: what is asked for, or what was certified for the same device.

    Raises:
        NuwaError: If the device cannot have the budget's statistic.
    """
    kept = certified_budget(bundle)
    known = kept.budget if kept is not None and kept.device == request.spec.name else None
    budget = _wanted_budget(request, known)
    require_statistic(budget.statistic if budget else request.statistic, request.spec)
    return budget


def certified_budget(bundle: Bundle) -> CertifiedBudget | None:
    """Find the budget that a bundle was last certified for, before its weights changed if they did."""
    certificate = bundle.certificate
    if certificate is None or certificate.budget is None:
        return bundle.facts.budget
    return CertifiedBudget(certificate.device.name, certificate.budget)


def _wanted_budget(request: ExportRequest, known: Budget | None) -> Budget | None:
    """The budget that is asked for; what is not asked for stays as it was certified for the same device."""
    if request.budget_ms is not None:
        memory_mb = known.max_memory_mb if known else None
        return Budget(request.budget_ms, request.statistic or "median", max_memory_mb=memory_mb)
    if known is not None and request.statistic is not None:
        return dataclasses.replace(known, statistic=request.statistic)
    return known


def write_export(folder: Path, parts: BundleParts, graph: onnx.ModelProto, certificate: Certificate) -> Bundle:
    """Write the bundle again with a new graph, and without the engine of the old one.

    Args:
        folder: The bundle, which is replaced.
        parts: What the bundle held before.
        graph: The new ONNX model.
        certificate: About the new graph.
    """
    return write_bundle(
        folder,
        dataclasses.replace(
            parts,
            exported=graph,
            certificate=certificate,
            engine=None,
            build_line=engine_line(certificate.device),
        ),
        replace=True,
    )


def export_answer(bundle: Bundle, certificate: Certificate) -> ExportAnswer:
    """Make the answer from the bundle and its certificate."""
    measured = certificate.measurement
    return ExportAnswer(
        dir=bundle.dir,
        device=certificate.device.name,
        precision=certificate.device.precision,
        opset=certificate.opset,
        verdict=certificate.verdict,
        verdict_reason=certificate.check.reason if certificate.check else "",
        latency_ms=measured.latency_ms.median if measured else None,
        provenance=certificate.provenance,
        build=bundle.build_path,
    )
