"""Run a TensorRT engine with what a board has anyway: its `tensorrt` Python module and the CUDA runtime.

Works with the binding-index calls of TensorRT 8 (JetPack 4, Python 3.6) and the named tensors of 10.
"""

import ctypes
import ctypes.util
import json
from pathlib import Path
from typing import Any

import numpy as np

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind of the CUDA runtime API


INPUT_KINDS = ("normalised", "unit", "uint8")
MAX_BYTES = 8 * 2**20  # of a certificate


def read_input_kind(path: Path) -> str:
    """Read from the certificate what the model takes; normalised images where there is none."""
    if not path.exists():
        return "normalised"
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, at most {MAX_BYTES} are read")
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(path.name + " is nested too deep") from error
    kind = certificate.get("input", "normalised") if isinstance(certificate, dict) else None
    if kind not in INPUT_KINDS:
        raise ValueError(f"{path.name} says that the model takes {str(kind)[:40]}")
    return str(kind)


class EngineModel:
    """An engine with one input and one output, in the shape that run.py uses."""

    def __init__(self, path: Path, certificate_path: Path, output: str = "logits") -> None:
        try:
            import tensorrt
        except ImportError as error:
            raise ValueError("an engine needs TensorRT's Python module, which is not installed here") from error

        self.cuda = load_cuda_runtime()
        self.runtime = "tensorrt " + tensorrt.__version__
        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self.trt_runtime = tensorrt.Runtime(logger)
        self.engine = self.trt_runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise ValueError(f"TensorRT {tensorrt.__version__} cannot load {path}: build it again here")
        self.context = self.engine.create_execution_context()
        self.has_names = hasattr(self.engine, "num_io_tensors")
        self.shape, in_type = self.describe(tensorrt, "images")
        self.output = output
        self.out_shape, _ = self.describe(tensorrt, output)
        self.input_kind = read_input_kind(certificate_path)
        self.in_type = in_type
        self.device_in = self.allocate(int(np.prod(self.shape)) * np.dtype(in_type).itemsize)
        self.device_out = self.allocate(int(np.prod(self.out_shape)) * 4)

    def describe(self, tensorrt: Any, name: str) -> "tuple[tuple[int, ...], Any]":
        """Read shape and NumPy type of one end of the engine."""
        if self.has_names:
            return tuple(self.engine.get_tensor_shape(name)), tensorrt.nptype(self.engine.get_tensor_dtype(name))
        index = self.engine.get_binding_index(name)
        return tuple(self.engine.get_binding_shape(index)), tensorrt.nptype(self.engine.get_binding_dtype(index))

    def allocate(self, num_bytes: int) -> ctypes.c_void_p:
        """Reserve memory on the GPU."""
        pointer = ctypes.c_void_p()
        check(self.cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(num_bytes)), "cudaMalloc")
        return pointer

    def copy(self, target: Any, source: Any, num_bytes: int, kind: int) -> None:
        """Copy between host and GPU memory, and wait until it is done.

        Args:
            target: Pointer to copy to.
            source: Pointer to copy from.
            num_bytes: Size in bytes.
            kind: Direction, as in ``cudaMemcpyKind``: ``HOST_TO_DEVICE`` or ``DEVICE_TO_HOST``.
        """
        check(self.cuda.cudaMemcpy(target, source, ctypes.c_size_t(num_bytes), ctypes.c_int(kind)), "cudaMemcpy")

    def run(self, images: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Map one batch to logits (B, num_classes), copies included."""
        given = np.ascontiguousarray(images, dtype=self.in_type)
        logits = np.empty(self.out_shape, dtype=np.float32)
        self.copy(self.device_in, given.ctypes.data_as(ctypes.c_void_p), given.nbytes, HOST_TO_DEVICE)
        if self.has_names:
            self.context.set_tensor_address("images", self.device_in.value)
            self.context.set_tensor_address(self.output, self.device_out.value)
            is_done = self.context.execute_async_v3(0)
        else:
            bindings = [0, 0]
            bindings[self.engine.get_binding_index("images")] = self.device_in.value or 0
            bindings[self.engine.get_binding_index(self.output)] = self.device_out.value or 0
            is_done = self.context.execute_v2(bindings)
        if not is_done:
            raise OSError("TensorRT could not run the engine")
        self.copy(logits.ctypes.data_as(ctypes.c_void_p), self.device_out, logits.nbytes, DEVICE_TO_HOST)
        return logits


def load_cuda_runtime() -> Any:
    """Find libcudart, which every CUDA installation holds."""
    for name in (ctypes.util.find_library("cudart"), "libcudart.so", "/usr/local/cuda/lib64/libcudart.so"):
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError("the CUDA runtime library (libcudart) was not found")


def check(code: int, call: str) -> None:
    """Stop if a CUDA call failed."""
    if code:
        raise OSError(f"{call} failed with CUDA error {code}")
