"""Exported graphs of the models in ``measured.csv``: weights stripped to shapes, cached on disk."""

import tempfile
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import timm
import timm.layers
import torch
from onnx import helper

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.shapes import stripped_model

REPOSITORY = Path(__file__).resolve().parents[1]
NANO_CSV = REPOSITORY.parent / "shared" / "data" / "jetson_nano" / "measured.csv"
ORIN_CSV = REPOSITORY.parent / "shared" / "data" / "jetson_orin_nano" / "measured.csv"
# Power modes as the rows spell them. A row without one is judged at 7 W: it is 1.6 times slower than labelled
# rows after clock scaling, and 2.6 times in all, as 1020 MHz over 408 is nearly.
ORIN_BOARDS = {"15W": "jetson-orin-nano", "MAXN_SUPER": "jetson-orin-nano-super"}
PRECISIONS: dict[str, Precision] = {"fp16": "fp16", "fp32": "fp32", "fp32+tf32": "fp32", "int8+fp16": "int8"}
CACHE_DIR = REPOSITORY / "work" / "emulator_graphs"
OPSET = 13  # the newest that the parser of TensorRT 8.2 takes

# The families that are never both fitted and judged, by the start of a timm name.
FAMILIES = {
    "resnet": "ResNet/ResNeXt/SE",
    "resnext": "ResNet/ResNeXt/SE",
    "seresnet": "ResNet/ResNeXt/SE",
    "densenet": "DenseNet",
    "vgg": "VGG",
    "inception": "Inception",
    "mobilenet": "MobileNet/MixNet",
    "mixnet": "MobileNet/MixNet",
    "efficientvit": "EfficientViT",
    "coatnet": "CoAtNet",
    "convnext": "ConvNeXt",
    "mobilevit": "MobileViT",
    "edgenext": "EdgeNeXt",
    "vit_": "ViT",
    "deit_": "ViT",
}


@dataclass(frozen=True)
class Row:
    """One latency published for a real board.

    Args:
        board: The emulated board that stands for it.
        is_labelled: Whether its source states the power mode; a row without one anchors nothing.
    """

    device: str
    board: str
    is_labelled: bool
    model: str
    timm_name: str
    img_size: int
    batch: int
    precision: Precision
    latency_ms: float
    source: str

    @property
    def family(self) -> str:
        """Name the family that is left out together with this row."""
        prefix = max((p for p in FAMILIES if self.timm_name.startswith(p)), key=len)
        return FAMILIES[prefix]


def read_rows(path: Path) -> list[Row]:
    """Read every row of a ``measured.csv``."""
    return [_row(r) for r in pd.read_csv(path).to_dict(orient="records")]


def _row(values: dict[Hashable, Any]) -> Row:
    mode = str(values.get("power_mode", "MAXN"))
    device = str(values["device"])
    return Row(
        device=device,
        board=ORIN_BOARDS.get(mode, "jetson-orin-nano-7w") if device == "jetson-orin-nano" else "jetson-nano",
        is_labelled=not mode.startswith("not stated"),
        model=str(values["model"]),
        timm_name=str(values["timm_name"]),
        img_size=int(values["img_size"]),
        batch=int(values["batch"]),
        precision=PRECISIONS[str(values["precision"])],
        latency_ms=float(values["latency_ms"]),
        source=str(values["source"]),
    )


def export_graph(timm_name: str, *, img_size: int, batch: int = 1) -> onnx.ModelProto:
    """Export a randomly initialised timm model at opset 13, weights stripped to shapes.

    timm's fused attention is switched off (the operator has no opset-13 form). The exporter that
    traces is used: the other one answers opset 18 when asked for 13.

    Raises:
        RuntimeError: If the exporter answered another opset than was asked for.
    """
    timm.layers.set_fused_attn(False)
    options = {} if timm_name.startswith(("resne", "vgg", "densenet", "inception", "seres")) else {"exportable": True}
    try:
        model = timm.create_model(timm_name, pretrained=False, **options)
    except TypeError:
        model = timm.create_model(timm_name, pretrained=False)
    image = torch.zeros(batch, 3, img_size, img_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model.eval(), (image,), path, opset_version=OPSET, dynamo=False)
        proto = onnx.load(path)
    found = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if found != OPSET:
        raise RuntimeError(f"the exporter answered opset {found} for {timm_name}, {OPSET} was asked for")
    return stripped_model(proto)


def graph_of(timm_name: str, *, img_size: int, batch: int = 1, cache_dir: Path = CACHE_DIR) -> onnx.ModelProto:
    """Read the graph from the cache, or export it and fill the cache."""
    suffix = "" if batch == 1 else f"_batch{batch}"
    path = cache_dir / f"{timm_name}_{img_size}{suffix}_opset{OPSET}.onnx"
    if not path.is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        path.write_bytes(export_graph(timm_name, img_size=img_size, batch=batch).SerializeToString())
    return onnx.load(path, load_external_data=False)


# What ``--int8`` computes in 8-bit integers in a ResNet: its products, and sums and pooling between them.
_QUANTISED = ("Conv", "Gemm", "Add", "MaxPool")


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put a Q/DQ pair before every activation and weight of what runs in INT8; scales stand for shapes only."""
    constants = {t.name for t in model.graph.initializer}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    out.graph.initializer.append(helper.make_tensor("qdq_scale", onnx.TensorProto.FLOAT, [], [0.05]))
    out.graph.initializer.append(helper.make_tensor("qdq_zero", onnx.TensorProto.INT8, [], [0]))
    done: dict[str, str] = {}
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type in _QUANTISED:
            for index, name in enumerate(node.input[:2]):
                if node.op_type == "Add" and name in constants:
                    continue
                if name not in done:
                    done[name] = f"{name}_dq"
                    pair = ("qdq_scale", "qdq_zero")
                    out.graph.node.append(helper.make_node("QuantizeLinear", [name, *pair], [f"{name}_q"]))
                    out.graph.node.append(helper.make_node("DequantizeLinear", [f"{name}_q", *pair], [done[name]]))
                copy.input[index] = done[name]
        out.graph.node.append(copy)
    return out
