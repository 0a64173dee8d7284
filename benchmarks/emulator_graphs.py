"""Exported graphs of the models in ``measured.csv``: weights stripped to shapes, cached on disk."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
import pandas as pd
import timm
import timm.layers
import torch

from nuwa_search.latency.emulator.shapes import stripped_model

REPOSITORY = Path(__file__).resolve().parents[1]
MEASURED_CSV = REPOSITORY.parent / "shared" / "data" / "jetson_nano" / "measured.csv"
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
}


@dataclass(frozen=True)
class Row:
    """One latency published for a real board."""

    device: str
    model: str
    timm_name: str
    img_size: int
    precision: str
    latency_ms: float
    source: str

    @property
    def family(self) -> str:
        """Name the family that is left out together with this row."""
        prefix = max((p for p in FAMILIES if self.timm_name.startswith(p)), key=len)
        return FAMILIES[prefix]


def read_rows(path: Path = MEASURED_CSV) -> list[Row]:
    """Read every row of ``measured.csv``."""
    frame = pd.read_csv(path)
    return [
        Row(
            device=str(r["device"]),
            model=str(r["model"]),
            timm_name=str(r["timm_name"]),
            img_size=int(r["img_size"]),
            precision=str(r["precision"]),
            latency_ms=float(r["latency_ms"]),
            source=str(r["source"]),
        )
        for r in frame.to_dict(orient="records")
    ]


def export_graph(timm_name: str, *, img_size: int) -> onnx.ModelProto:
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
    image = torch.zeros(1, 3, img_size, img_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model.eval(), (image,), path, opset_version=OPSET, dynamo=False)
        proto = onnx.load(path)
    found = max(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if found != OPSET:
        raise RuntimeError(f"the exporter answered opset {found} for {timm_name}, {OPSET} was asked for")
    return stripped_model(proto)


def graph_of(timm_name: str, *, img_size: int, cache_dir: Path = CACHE_DIR) -> onnx.ModelProto:
    """Read the graph from the cache, or export it and fill the cache."""
    path = cache_dir / f"{timm_name}_{img_size}_opset{OPSET}.onnx"
    if not path.is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        path.write_bytes(export_graph(timm_name, img_size=img_size).SerializeToString())
    return onnx.load(path, load_external_data=False)
