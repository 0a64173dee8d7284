"""The file `trtexec --exportOutput` writes: name, dimensions and values of each output."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nuwa_search.core import checked
from nuwa_search.core.documents import json_from_text, read_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray
from nuwa_search.deploy.tensorrt.report import CutOffError

_MAX_BYTES = 64 * 2**20  # 250 images of ImageNet's 21 841 classes at 12 characters a value
_MAX_VALUES = 10_000_000
# C++ prints these where JSON knows no number; an engine that overflows writes them, and that is an answer.
_NO_NUMBER = re.compile(r"(?<=[\[, \n])-?(?:nan|inf)(?=[, \]\n])")


def output_from_export(path: Path, *, name: str, shape: tuple[int, ...]) -> FloatArray:
    """Read one output; values that are no number come as NaN.

    Args:
        path: The file.
        name: Of the output.
        shape: It must have.

    Raises:
        CutOffError: If the file is not whole, or holds another shape or number of values than it says.
        NuwaError: If the engine has no such output, or gives it another shape.
    """
    try:
        text = _NO_NUMBER.sub("null", read_text(path, what="the exported output", max_bytes=_MAX_BYTES))
        entries = [
            checked.mapping(entry, "an output")
            for entry in checked.items(json_from_text(text, what="it", max_bytes=_MAX_BYTES), "the exported output")
        ]
        outputs = {checked.text(entry.get("name"), "the name of an output"): entry for entry in entries}
        found = {key: _values(entry, name=key) for key, entry in outputs.items()}
    except NuwaError as error:
        raise CutOffError(f"the exported output is not whole: {error.message}") from error
    if name not in found:
        raise NuwaError(f"the engine has no output {name!r}, only {', '.join(map(repr, found)) or 'none'}")
    if found[name].shape != shape:
        raise NuwaError(f"the engine's output {name!r} has shape {found[name].shape}, wanted {shape}")
    return found[name]


def _values(entry: Mapping[str, object], *, name: str) -> FloatArray:
    dimensions = checked.text(entry.get("dimensions"), f"the dimensions of {name!r}")
    if not re.fullmatch(r"\d{1,9}(?:x\d{1,9})*", dimensions):
        raise NuwaError(f"the dimensions of {name!r} are {checked.shown(dimensions)}")
    shape = tuple(map(int, dimensions.split("x")))
    listed = checked.items(entry.get("values"), f"the values of {name!r}", max_items=_MAX_VALUES)
    if len(listed) != int(np.prod(shape, dtype=object)):
        raise NuwaError(f"{name!r} has dimensions {dimensions} and {len(listed)} values")
    numbers = [np.nan if value is None else checked.finite(value, f"a value of {name!r}") for value in listed]
    return np.array(numbers, dtype=np.float32).reshape(shape)
