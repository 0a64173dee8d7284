"""DeepStream: a graph, a configuration and labels for its ``nvinfer`` element, as the DeepStream guide describes them.

``nvinfer`` makes ``y = net-scale-factor · (x - offsets[c])`` of bytes x: one factor for all channels, so a ``std`` per
channel is beyond it. And its classifier takes the outputs for probabilities. So the graph here holds the normalisation,
takes x / 255, and ends in a softmax; weights and all between are those of the bundle's ``model.onnx``.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.device import Precision
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import both_sides, sides_of
from nuwa_search.deploy.export.graph import INPUT_NAME, OUTPUT_NAME
from nuwa_search.deploy.field.field_model import FieldModel

OUTPUT = "probabilities"
CONFIG = "config_infer_primary.txt"
NETWORK_MODES: dict[Precision, int] = {"fp32": 0, "int8": 1, "fp16": 2}
SCALE = 1 / 255
BUILT_HERE = "model.engine"
FULL_HD = (1920, 1080)
"""Of the example in the README: what most cameras give."""


def nvinfer_graph(model: FieldModel) -> onnx.ModelProto:
    """Write the graph for ``nvinfer``: input ``images`` (B, 3, H, W) FP32 in 0..1, output ``probabilities`` (B, K).

    Args:
        model: Whose graph takes normalised images, or values 0..1 already.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model.graph)
    if model.input_kind == "normalised":
        _normalise_inside(graph.graph, model.preprocess)
    _end_in_softmax(graph.graph)
    for entry in graph.metadata_props:
        if entry.key == "nuwa.input":
            entry.value = "unit"
    return graph


def _normalise_inside(graph: onnx.GraphProto, preprocess: Preprocess) -> None:
    """Put ``(x - mean) / std`` before the first node."""
    inner = f"{INPUT_NAME}.normalised"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == INPUT_NAME:
                node.input[place] = inner
    shape = (1, len(preprocess.std), 1, 1)
    std = np.asarray(preprocess.std, dtype=np.float64).reshape(shape)
    mean = np.asarray(preprocess.mean, dtype=np.float64).reshape(shape)
    for name, values in (("nvinfer.mean", mean), ("nvinfer.std", std)):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    nodes = [
        helper.make_node("Sub", [INPUT_NAME, "nvinfer.mean"], [f"{INPUT_NAME}.centred"], name="nvinfer.centre"),
        helper.make_node("Div", [f"{INPUT_NAME}.centred", "nvinfer.std"], [inner], name="nvinfer.scale"),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)


def _end_in_softmax(graph: onnx.GraphProto) -> None:
    shape = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
    graph.node.append(helper.make_node("Softmax", [OUTPUT_NAME], [OUTPUT], name="nvinfer.softmax", axis=-1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))


def nvinfer_labels(labels: tuple[str, ...]) -> str:
    """Write the labels as ``nvinfer`` reads those of a classifier: one line per output layer, semicolons between."""
    return ";".join(label.replace(";", ",") for label in labels) + "\n"


def nvinfer_config(model: FieldModel) -> str:
    """Write the configuration of an ``nvinfer`` element that classifies whole frames; paths are relative to it."""
    is_bordered = model.preprocess.crop_mode == "border"
    mode = NETWORK_MODES[model.precision]
    word = {0: "fp32", 1: "int8", 2: "fp16"}[mode]
    properties = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 1,
        "onnx-file": "model.onnx",
        "model-engine-file": BUILT_HERE if model.build_line else f"model.onnx_b{model.batch}_gpu0_{word}.engine",
        "labelfile-path": "labels.txt",
        "batch-size": model.batch,
        "infer-dims": f"3;{model.shape[2]};{model.shape[3]}",
        "network-mode": mode,
        "model-color-format": 0,
        "net-scale-factor": repr(SCALE),
        "offsets": "0;0;0",
        "maintain-aspect-ratio": int(is_bordered),
        "symmetric-padding": int(is_bordered),
        "scaling-filter": 1,
        "output-blob-names": OUTPUT,
        "classifier-threshold": model.none_below or 0.0,
    }
    lines = [
        "# nvinfer of DeepStream: y = net-scale-factor * (x - offsets). Mean and std are inside model.onnx, which ends",
        "# in a softmax. process-mode 1: whole frames (2: objects of another nvinfer). network-type 1: a classifier.",
        "# model-color-format 0: RGB. network-mode 0, 1, 2: FP32, INT8, FP16. scaling-filter 1: bilinear.",
        "# classifier-threshold: below it a frame is none of the labels, and no label is attached.",
        "[property]",
        *(f"{name}={value}" for name, value in properties.items()),
    ]
    return "\n".join(lines) + "\n"


def kept_part(preprocess: Preprocess, width: int, height: int) -> tuple[int, int, int, int]:
    """Return which part of a frame the model was scored on: left, top, width and height, of crop mode ``center``."""
    sides = sides_of(preprocess.img_size)
    high, wide = (math.floor(side / preprocess.crop_pct) for side in sides)
    ratio = min(height / high, width / wide)
    kept_high, kept_wide = min(height, round(sides[0] * ratio)), min(width, round(sides[1] * ratio))
    return (width - kept_wide) // 2, (height - kept_high) // 2, kept_wide, kept_high


def _part(preprocess: Preprocess) -> str:
    size = preprocess.img_size
    return "square" if isinstance(size, int) else f"{both_sides(size, ' : ')} (height : width)"


def nvinfer_readme(model: FieldModel) -> str:
    """Write what to do with the folder, and how what it does differs from the bundle's own programs."""
    build = "    sh build.sh        # once, on the board\n" if model.build_line else ""
    if model.preprocess.crop_mode == "center":
        kept = ":".join(map(str, kept_part(model.preprocess, *FULL_HD)))
        crop = (
            f"The model was scored on the centre {_part(model.preprocess)} of its images, and `nvinfer` scales whole "
            f"frames. Cut that out before: of {FULL_HD[0]} × {FULL_HD[1]}, `nvvideoconvert src-crop={kept}`."
        )
    elif model.preprocess.crop_mode == "border":
        crop = "Frames keep their aspect ratio, as when the model was scored, but are padded black, not with the mean."
    else:
        crop = "Whole frames are scaled to the model's image, as when it was scored."
    return f"""# DeepStream

{build}    gst-launch-1.0 … ! nvstreammux … ! nvinfer config-file-path={CONFIG} ! …

`model.onnx` is the bundle's model with the normalisation inside and a softmax at its end (`{OUTPUT}`), because
`nvinfer` has one scale for all channels and takes outputs for probabilities. {crop}
It scales with a bilinear filter where the model was scored with {model.preprocess.interpolation}: answers differ a
little.

Checked with: `nvinfer`'s formula done in NumPy and this graph on ONNX Runtime give the bundle's probabilities; the
configuration parses as an INI file. It has not run in DeepStream.
"""


def write_nvinfer(folder: Path, model: FieldModel) -> None:
    """Write graph, configuration, labels and README into a folder, which is made."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(nvinfer_graph(model).SerializeToString())
    (folder / CONFIG).write_text(nvinfer_config(model), encoding="utf-8")
    (folder / "labels.txt").write_text(nvinfer_labels(model.labels), encoding="utf-8")
    (folder / "README.md").write_text(nvinfer_readme(model), encoding="utf-8")
