"""ONNX's reference evaluator as a runtime: slow, and independent of every other one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.runtimes.model_file import parse_model, read_model_bytes, require_batch, static_input_shape

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

    from nuwa_search.core.runtime import FloatArray, Images


@dataclass(frozen=True)
class ReferenceRuntime:
    """See ``nuwa_search.core.runtime.Runtime``.

    Args:
        threads: Taken as every runtime takes it; the evaluator has one.
    """

    threads: int = 1

    @property
    def name(self) -> str:
        return "onnx-reference"

    @property
    def version(self) -> str:
        import onnx

        return str(onnx.__version__)

    def load(self, model: bytes | Path) -> "ReferenceSession":
        """Load a model with one input ``images`` and one output ``logits``."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        parsed = parse_model(read_model_bytes(model))
        image = parsed.graph.input[0]
        sizes = [size.dim_value or size.dim_param or None for size in image.type.tensor_type.shape.dim]
        shape = static_input_shape(sizes, name=image.name)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)
        try:
            return ReferenceSession(ReferenceEvaluator(parsed), image.name, shape, str(np.dtype(dtype)))
        except Exception as error:  # the evaluator's errors have no base of their own
            raise NuwaError(f"the reference evaluator cannot load the model: {error}") from error


@dataclass(frozen=True)
class ReferenceSession:
    """One model in the evaluator."""

    evaluator: "ReferenceEvaluator"
    input_name: str
    input_shape: tuple[int, int, int, int]
    dtype: str

    def run(self, images: "Images") -> "FloatArray":
        """Run one batch."""
        require_batch(images, shape=self.input_shape, dtype=self.dtype)
        (logits,) = self.evaluator.run(None, {self.input_name: images})
        return np.asarray(logits, dtype=np.float32)
