"""C++: the numbers of one model as a header, beside the sources that every bundle shares."""

import json
import shutil
from pathlib import Path

import numpy as np

from nuwa_search.core.img_size import sides_of
from nuwa_search.core.pipeline import FIRST_PIPELINE
from nuwa_search.deploy.export.graph import INPUT_NAME, OUTPUT_NAME
from nuwa_search.deploy.field.field_model import FieldModel

ASSETS_DIR = Path(__file__).parents[1] / "assets" / "cpp"
SOURCES = ("classify.cpp", "preprocess.h")

README = """# C++

`classify.cpp` runs `../model.onnx` with ONNX Runtime's C++ API, or an engine with TensorRT's (`-DWITH_TENSORRT`;
TensorRT 8, and 10 or later). The lines that compile it stand at its top. `preprocess.h` makes the model's input of RGB
bytes, without any library, and `model.h` holds this model's names, sizes and labels.

Checked with: `preprocess.h` compiled by g++, its output equal to the Python programs' bit for bit, on tall pictures to
two levels of 255 (Pillow 13 scales some of them height first); `classify.cpp` compiled by g++ in all three forms
against stand-ins for the headers of ONNX Runtime, TensorRT 8 and TensorRT 10, and run against the first. It was not
linked with either library.
"""


def has_cpp(model: FieldModel) -> bool:
    """Whether ``preprocess.h`` can make the model's images: those of the first pipeline it cannot."""
    return model.preprocess.pipeline != FIRST_PIPELINE


def model_header(model: FieldModel) -> str:
    """Write ``model.h``."""
    made = model.preprocess
    height, width = sides_of(made.img_size)
    fill = ", ".join(str(round(255 * value)) for value in made.mean)
    labels = ",\n".join(f"    {_literal(label)}" for label in model.labels)
    none_below = 0.0 if model.none_below is None else model.none_below
    return f"""// This bundle's model: names, sizes, how its images are made, and labels in the order of its outputs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nuwa {{

using Input = {"uint8_t" if model.input_kind == "uint8" else "float"};
constexpr const char* kInputName = {_literal(INPUT_NAME)};
constexpr const char* kOutputName = {_literal(OUTPUT_NAME)};
constexpr int kBatch = {model.batch};
constexpr int kImageHeight = {height};
constexpr int kImageWidth = {width};
constexpr size_t kInputSize = 3u * kImageHeight * kImageWidth;
constexpr bool kIsNormalised = {_bool(model.input_kind == "normalised")};  // the model takes (x / 255 - mean) / std
constexpr bool kIsUnit = {_bool(model.input_kind == "unit")};  // it takes x / 255
constexpr float kMean[3] = {{{_floats(made.mean)}}};
constexpr float kStd[3] = {{{_floats(made.std)}}};
constexpr double kCropPct = {made.crop_pct!r};
constexpr const char* kCropMode = {_literal(made.crop_mode)};
constexpr const char* kInterpolation = {_literal(made.interpolation)};
constexpr uint8_t kFill[3] = {{{fill}}};  // around a picture in mode border
constexpr double kNoneBelow = {none_below!r};  // below this probability a picture is none of the labels
constexpr int kNumLabels = {len(model.labels)};
constexpr const char* kLabels[kNumLabels] = {{
{labels}}};

}}  // namespace nuwa
"""


def _literal(text: str) -> str:
    """Quote text for C++: what JSON escapes is an escape there too, and UTF-8 stays; ``??`` would be a trigraph."""
    return json.dumps(text, ensure_ascii=False).replace("??", '?""?')


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _floats(values: tuple[float, ...]) -> str:
    return ", ".join(f"{np.float32(value).item()!r}f" for value in values)


def write_cpp(folder: Path, model: FieldModel) -> None:
    """Write sources, header and README into a folder, which is made."""
    folder.mkdir()
    for name in SOURCES:
        shutil.copyfile(ASSETS_DIR / name, folder / name)
    (folder / "model.h").write_text(model_header(model), encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
