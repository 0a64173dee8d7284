"""ONNX Runtime on the CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import (
    damaged,
    parse_model,
    read_model_bytes,
    require_batch,
    static_input_shape,
)

Optimisation = Literal["all", "extended", "basic", "none"]

_LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_NUMPY_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
ORT_ERRORS = tuple(e for e in vars(ort_errors).values() if isinstance(e, type) and issubclass(e, Exception))
"""Everything that ONNX Runtime raises: its errors have no base of their own."""
_LOG_ERRORS_ONLY = 3  # warnings about constants that were folded away are of no use to anyone here


@dataclass(frozen=True)
class OnnxRuntime:
    """Loads models into ONNX Runtime's CPU provider.

    Args:
        threads: Threads inside one operator; operators run one after another. 0 leaves it to ONNX
            Runtime (one per physical core).
        optimisation: Highest level of graph rewriting.
    """

    threads: int = 1
    optimisation: Optimisation = "all"

    @property
    def name(self) -> str:
        return "onnxruntime"

    @property
    def version(self) -> str:
        return str(onnxruntime.__version__)

    def load(self, model: bytes | Path) -> "OrtSession":
        return OrtSession(self.open(model))

    def open(self, model: bytes | Path) -> onnxruntime.InferenceSession:
        """Load a graph with whatever inputs and outputs it has.

        Raises:
            NuwaError: If the file is missing or damaged, or ONNX Runtime cannot run it.
        """
        data = read_model_bytes(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = _LEVELS[self.optimisation]
        options.log_severity_level = _LOG_ERRORS_ONLY
        origin = str(model) if isinstance(model, Path) else "the ONNX model"
        if isinstance(model, Path):  # bytes were looked over where they were read, or are ours
            parse_model(data, origin=origin)
        try:  # its way back to the same provider says so on stdout (1.32), where the answer belongs
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        except (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph) as error:
            raise damaged(origin, _first_line(error)) from error
        except ORT_ERRORS as error:
            if is_out_of_memory(error):
                raise
            raise NuwaError(f"ONNX Runtime {self.version} cannot run {origin}: {_first_line(error)}") from error


class OrtSession:
    """One model in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise NuwaError(
                f"the model has {len(inputs)} inputs ({', '.join(i.name for i in inputs[:6])}), wanted one of images",
                hint="nuwa measure times graphs of any inputs; logits are compared for graphs of one",
            )
        image = inputs[0]
        self._input_name = image.name
        self._dtype = _NUMPY_TYPES.get(image.type, image.type)
        self._shape = static_input_shape(list(image.shape), name=image.name)
        self._outputs = [session.get_outputs()[0].name]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    def run(self, images: Images) -> FloatArray:
        require_batch(images, shape=self._shape, dtype=self._dtype)
        logits: FloatArray = self._session.run(self._outputs, {self._input_name: images})[0]
        return logits.astype(np.float32, copy=False)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
