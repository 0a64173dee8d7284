"""A small whole bundle to write, read and damage."""

import io

import numpy as np
from PIL import Image

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.device import (
    DeviceKind,
    DeviceSpec,
    KernelTime,
    LatencyStats,
    Measurement,
    MeasureProtocol,
    Precision,
)
from nuwa_search.core.images import Preprocess
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions, InputKind
from nuwa_search.deploy.tensorrt.trtexec import build_line
from nuwa_search.deploy.write_bundle import BundleParts
from tests.deploy.export_families import FAMILIES, lively_model

PREPROCESS = Preprocess(24, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3), crop_pct=0.9)
LABELS = ("bicycle", "bus", "motorcycle", "pickup truck", "train", "Straßenbahn", "van")


def make_device(*, kind: DeviceKind = "emulated", precision: Precision = "fp16") -> DeviceSpec:
    return DeviceSpec(
        "jetson-nano",
        kind,
        "tensorrt",
        "8.2.1",
        precision,
        power_mode="MAXN",
        opset=13,
        compute_capability="5.3",
        options=(("cores", "4"),),
    )


def make_measurement(median: float = 28.0, *, device: DeviceSpec | None = None) -> Measurement:
    spec = device or make_device()
    stats = LatencyStats(
        median, median + 0.1, median, median + 0.5, median + 1, median + 2, median - 1, median + 3, 0.01
    )
    is_emulated = spec.kind == "emulated"
    return Measurement(
        spec,
        MeasureProtocol(),
        spec.provenance,
        stats,
        samples=200,
        breakdown=(KernelTime("patch_embed", "conv", median),),
        board_interval_ms=(median * 0.9, median * 1.2) if is_emulated else None,
        state={"gpu_mhz": "921.6"},
        warnings=("short run",),
    )


def make_agreement(*, error: float = 1e-6) -> Agreement:
    return Agreement("fp32", "onnxruntime 1.20", 16, error, 1e-4, 0.9999, 1.0, 1.0)


def make_certificate(arch: Arch, *, median: float = 28.0, budget_ms: float | None = 30.0) -> Certificate:
    return Certificate(
        arch_id=arch.arch_id,
        device=make_device(),
        measurement=make_measurement(median),
        budget=None if budget_ms is None else Budget(budget_ms),
        agreements=(make_agreement(),),
        facts=BundleFacts(top1=0.9, split="test"),
    )


def make_parts(*, model: PlainViT | None = None, batch: int = 1, input_kind: InputKind = "normalised") -> BundleParts:
    chosen = model or lively_model(FAMILIES["token"])
    exported = onnx_from_vit(
        chosen, GraphOptions(batch=batch, labels=LABELS, preprocess=PREPROCESS, input_kind=input_kind)
    )
    line = build_line("model.onnx", "model.engine", version="8.2.1", precision="fp16", workspace_mb=512)
    return BundleParts(
        model=chosen,
        arch=chosen.arch,
        labels=LABELS,
        preprocess=PREPROCESS,
        exported=exported,
        certificate=make_certificate(chosen.arch),
        build_line=line,
        samples=(("bus.png", png(40, 30)), ("van.png", png(24, 60))),
    )


def png(width: int, height: int, *, seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()
