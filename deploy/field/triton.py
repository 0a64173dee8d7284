"""Triton: a model repository around the bundle's ``model.onnx``."""

import json
import os
import shutil
from pathlib import Path

from nuwa_search.core.img_size import size_words
from nuwa_search.deploy.export.graph import INPUT_NAME, OUTPUT_NAME
from nuwa_search.deploy.field.field_model import FieldModel

MODEL = "nuwa_vit"
"""Of the model in the repository: its folder bears the same name, as Triton wants."""
VERSION = "1"


def triton_config(model: FieldModel) -> str:
    """Write ``config.pbtxt``: shapes are static, so Triton adds no batch dimension of its own."""
    in_type = "TYPE_UINT8" if model.input_kind == "uint8" else "TYPE_FP32"
    told = {
        "input_kind": model.input_kind,
        "mean": ",".join(map(str, model.preprocess.mean)),
        "std": ",".join(map(str, model.preprocess.std)),
        "img_size": size_words(model.preprocess.img_size),
        "crop_pct": str(model.preprocess.crop_pct),
        "crop_mode": model.preprocess.crop_mode,
        "interpolation": model.preprocess.interpolation,
        "none_below": "" if model.none_below is None else str(model.none_below),
    }
    parameters = "\n".join(
        f"parameters {{ key: {_quoted(name)} value {{ string_value: {_quoted(value)} }} }}"
        for name, value in told.items()
    )
    return f"""name: {_quoted(MODEL)}
backend: "onnxruntime"
max_batch_size: 0
input [ {{ name: {_quoted(INPUT_NAME)} data_type: {in_type} dims: [ {", ".join(map(str, model.shape))} ] }} ]
output [
  {{
    name: {_quoted(OUTPUT_NAME)}
    data_type: TYPE_FP32
    dims: [ {model.batch}, {len(model.labels)} ]
    label_filename: "labels.txt"
  }}
]
{parameters}
"""


def _quoted(text: str) -> str:
    return json.dumps(text)


def triton_readme() -> str:
    """Write how the repository is served, and what a client does."""
    return f"""# Triton Inference Server

    docker run --gpus=1 -p 8000:8000 -v BUNDLE:/bundle TRITON_IMAGE tritonserver --model-repository=/bundle/triton

Mount the whole bundle: `{MODEL}/{VERSION}/model.onnx` links to the bundle's `model.onnx`. The server takes what the
model takes; images are made by the client, for which the bundle's `classifier.py` will do:

    model = Classifier("BUNDLE")
    images = model_input([model.crop(Image.open("photo.jpg").convert("RGB"))], model.preprocess, model.model)

A request with `class_count` is answered with the labels. For TensorRT put the engine that `build.sh` makes on the
server's own GPU there as `{VERSION}/model.plan` and set `backend: "tensorrt"`.

Checked with: `config.pbtxt` read as `ModelConfig` by the message types in `tritonclient` 2.73, its names, types and
shapes held against the graph. No server was run.
"""


def write_triton(folder: Path, model: FieldModel) -> None:
    """Write the repository beside a ``model.onnx`` in ``folder``'s parent; the version links to it."""
    version = folder / MODEL / VERSION
    version.mkdir(parents=True)
    (folder / MODEL / "config.pbtxt").write_text(triton_config(model), encoding="utf-8")
    (folder / MODEL / "labels.txt").write_text("".join(f"{label}\n" for label in model.labels), encoding="utf-8")
    (folder / "README.md").write_text(triton_readme(), encoding="utf-8")
    try:
        (version / "model.onnx").symlink_to(os.path.join("..", "..", "..", "model.onnx"))  # noqa: PTH118
    except OSError:  # a file system without links
        shutil.copyfile(folder.parent / "model.onnx", version / "model.onnx")
