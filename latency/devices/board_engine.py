"""An engine on a board as a session: what was timed there gives its outputs, one process a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import require_batch, static_input_shape
from nuwa_search.deploy.tensorrt.outputs import output_from_export

if TYPE_CHECKING:
    import onnx

# Types that trtexec reads raw from a file; the numbers are onnx.TensorProto's, which costs too much to load here.
_DTYPES = {1: "float32", 2: "uint8"}


@dataclass(frozen=True)
class EnginePorts:
    """Input and output of an engine, as its ONNX file names them."""

    input_name: str
    input_shape: tuple[int, int, int, int]
    dtype: str
    output_name: str
    output_shape: tuple[int, ...]


def ports_from_model(model: "onnx.ModelProto") -> EnginePorts:
    """Read the one input and the first output of a model.

    Raises:
        NuwaError: If it has several inputs, open sizes, or an input of another type than images.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or not model.graph.output:
        raise NuwaError(f"a model with one input and an output can be run there, this has {len(inputs)} inputs")
    image, output = inputs[0], model.graph.output[0]
    kind = image.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise NuwaError(f"input {image.name!r} is neither float32 nor uint8")
    return EnginePorts(
        image.name,
        static_input_shape([d.dim_value for d in kind.shape.dim], name=image.name),
        _DTYPES[kind.elem_type],
        output.name,
        tuple(d.dim_value for d in output.type.tensor_type.shape.dim),
    )


@dataclass(frozen=True)
class BoardEngine:
    """One engine on a board; see ``nuwa_search.core.runtime.CompiledModel``.

    Args:
        ports: What goes in and comes out.
        runtime: Name and version.
        artifact_sha256: Of the engine file there.
        infer: Runs it once on the raw input; returns the file here with the exported outputs.
    """

    ports: EnginePorts
    runtime: str
    artifact_sha256: str
    infer: Callable[[bytes, Callable[[Path], FloatArray]], FloatArray]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.ports.input_shape

    def run(self, images: Images) -> FloatArray:
        """Run one batch in a process of its own on the board: (B, num_classes) logits, NaN where it gave no number.

        Raises:
            NuwaError: If the images are not the engine's, or the engine gives another output than its model.
            OutsideError: If the board failed.
        """
        require_batch(images, shape=self.ports.input_shape, dtype=self.ports.dtype)
        # Every board that trtexec runs on is little-endian; this machine need not be.
        raw = np.ascontiguousarray(images).astype(images.dtype.newbyteorder("<"), copy=False).tobytes()
        return self.infer(raw, self._read)

    def _read(self, path: Path) -> FloatArray:
        return output_from_export(path, name=self.ports.output_name, shape=self.ports.output_shape)
