"""Export a bundle for a device anew, prove it, and build its engine where that can be done here."""

import dataclasses
from pathlib import Path
from typing import Any

from deploy.bundle import Bundle, read_bundle
from deploy.certificate import BudgetStatistic, Certificate
from deploy.export.from_vit import onnx_from_vit
from deploy.tensorrt.operators import check_operators
from deploy.verify import verify_fp16, verify_onnx
from deploy.verify_bundle import random_images
from deploy.write_bundle import parts_from_bundle, write_bundle
from nuwa.device import DeviceSpec
from nuwa.errors import NoAnswerError, NuwaError
from service.workflow.devices import opened_device
from service.workflow.pricing import PROTOCOL
from service.workflow.ship import engine_line


def export_bundle(
    folder: Path, *, spec: DeviceSpec, budget_ms: float | None, statistic: BudgetStatistic | None, seed: int
) -> dict[str, Any]:
    """Write model.onnx, the build line and a certificate for ``spec`` into a bundle.

    A budget, with its statistic, is taken over from a certificate for the same device. Without training
    images at hand the comparison with PyTorch runs on noise: it finds a wrong graph.

    Raises:
        NoAnswerError: If the export does not agree with the weights.
        NuwaError: If the device's runtime cannot take the graph.
    """
    bundle = read_bundle(folder)
    parts = parts_from_bundle(bundle)
    old = bundle.certificate
    subnet = old.subnet_id if old else ""
    exported = onnx_from_vit(
        parts.model,
        opset=spec.opset,
        batch=spec.batch,
        preprocess=parts.preprocess,
        labels=parts.labels,
        metadata={"subnet_id": subnet, "arch_id": parts.arch.arch_id},
    )
    if spec.runtime == "tensorrt":
        check_operators(exported, version=spec.runtime_version)
    images = random_images(bundle)
    agreements = [verify_onnx(parts.model, exported, images, parts.preprocess)]
    if spec.precision == "fp16":
        agreements.append(verify_fp16(parts.model, exported, images, parts.preprocess))
    for agreement in agreements:
        if not agreement.is_met:
            raise NoAnswerError(f"the export does not agree with the weights in {agreement.check}")
    with opened_device(spec, seed=seed) as device:
        measurement = device.measure(exported, protocol=PROTOCOL)
    kept = old if old is not None and old.device.device_id == spec.device_id and budget_ms is None else None
    certificate = Certificate(
        arch_id=parts.arch.arch_id,
        device=spec,
        measurement=measurement,
        budget_ms=kept.budget_ms if kept else budget_ms,
        budget_statistic=statistic or (kept.budget_statistic if kept else "median"),
        agreements=tuple(agreements),
        opset=spec.opset,
        subnet_id=subnet,
        facts=old.facts if old else {},
    )
    written = write_bundle(
        folder,
        dataclasses.replace(
            parts, exported=exported, certificate=certificate, engine=None, build_line=engine_line(spec)
        ),
        replace=True,
    )
    return {
        "dir": str(folder),
        "device": spec.name,
        "opset": spec.opset,
        "verdict": certificate.verdict,
        "latency_ms": measurement.latency_ms.median,
        "provenance": measurement.provenance,
        "build": str(written.build_path) if written.build_path else None,
    }


def build_engine_in(folder: Path, *, spec: DeviceSpec) -> dict[str, Any]:
    """Build the engine with TensorRT's Python API where it is installed, else answer with the build line.

    Raises:
        NuwaError: If the bundle was exported for another device, or the device runs no TensorRT.
    """
    bundle = read_bundle(folder)
    certificate = _exported_for(bundle, spec)
    line = engine_line(spec)
    if line is None:
        raise NuwaError(f"device {spec.name} runs {spec.runtime}: there is no engine to build")
    if spec.kind != "cuda" or bundle.onnx_path is None:
        return {"dir": str(folder), "engine": None, "build": str(bundle.build_path), "line": " ".join(line)}
    from deploy.tensorrt.builder import build_engine
    from deploy.tensorrt.trtexec import default_workspace_mb

    engine = folder / "model.engine"
    build_engine(bundle.onnx_path, engine, precision=spec.precision, workspace_mb=default_workspace_mb(spec.memory_mb))
    parts = dataclasses.replace(parts_from_bundle(bundle), engine=engine, certificate=certificate)
    write_bundle(folder, parts, replace=True)
    return {"dir": str(folder), "engine": str(engine), "build": None, "line": " ".join(line)}


def _exported_for(bundle: Bundle, spec: DeviceSpec) -> Certificate:
    certificate = bundle.certificate
    if certificate is None or certificate.device.device_id != spec.device_id:
        found = certificate.device.name if certificate else "no device"
        raise NuwaError(
            f"bundle {bundle.dir} was exported for {found}, not for {spec.name}",
            hint=f"nuwa export {bundle.dir} --device {spec.name}",
        )
    return certificate
