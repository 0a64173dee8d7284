"""Run an engine on this machine's GPU, with torch tensors as its buffers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt.bindings import bindings_version, load_tensorrt
from nuwa_search.deploy.tensorrt.engine_info import read_engine_info
from nuwa_search.deploy.tensorrt.version import trt_version_from_text

# TensorRT's names for element types, and torch's.
_TORCH_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT8": torch.int8,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
}


_DEVICE = "cuda"


class EngineRunner:
    """A loaded engine with static shapes.

    Args:
        engine_path: An engine with its description beside it.
    """

    def __init__(self, engine_path: Path) -> None:
        self._engine_path = engine_path
        self._runtime: Any = None  # must outlive the engine it loaded
        self._engine: Any = None
        self._context: Any = None
        self._outputs: dict[str, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}

    def load(self) -> None:
        """Load the engine and allocate its buffers.

        Raises:
            NuwaError: If TensorRT is missing or the engine is of another version.
            OutsideError: If the GPU cannot load it.
        """
        trt = load_tensorrt()
        info = read_engine_info(self._engine_path)
        ours = bindings_version(trt)
        if trt_version_from_text(info.tensorrt_version) != ours:
            raise NuwaError(
                f"the engine is of TensorRT {info.tensorrt_version} and this machine has {ours}",
                hint="build it again here: nuwa build DIR --device cuda",
            )
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(self._engine_path.read_bytes())
        if self._engine is None:
            raise OutsideError("the GPU could not load the engine", hint="free GPU memory, or build the engine again")
        self._context = self._engine.create_execution_context()
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            kind = _TORCH_TYPES[self._engine.get_tensor_dtype(name).name]
            buffer = torch.empty(tuple(self._engine.get_tensor_shape(name)), dtype=kind, device=_DEVICE)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._inputs if is_input else self._outputs)[name] = buffer
            self._context.set_tensor_address(name, buffer.data_ptr())

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run once and wait; outputs are copies on the CPU.

        Args:
            inputs: One tensor per input of the engine, of its shape.

        Raises:
            NuwaError: If names or shapes are others than the engine's.
            OutsideError: If the GPU failed.
        """
        if self._context is None:
            self.load()
        wanted = {name: tuple(buffer.shape) for name, buffer in self._inputs.items()}
        given = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
        if wanted != given:
            raise NuwaError(f"the engine takes {wanted}, found {given}")
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self.enqueue()
        torch.cuda.synchronize()
        return {name: buffer.cpu() for name, buffer in self._outputs.items()}

    def enqueue(self) -> None:
        """Launch one inference on torch's current stream, without waiting; for timing.

        Raises:
            OutsideError: If the launch failed.
        """
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise OutsideError("TensorRT could not launch the engine", hint="nuwa doctor cuda")
