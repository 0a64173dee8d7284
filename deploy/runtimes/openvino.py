"""OpenVINO on the CPU, in FP32."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import read_model_bytes, require_batch, static_input_shape

INSTALL_HINT = "pip install 'nuwa-search[openvino]'"

# OpenVINO's names of element types in ONNX Runtime's spelling, which both runtimes' inputs are fed by.
_TYPES = {
    "f16": "float16",
    "f32": "float",
    "f64": "double",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "boolean": "bool",
}
_NUMPY_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_PLACES = ("Exception from", "Check ", "While ", "FrontEnd API")


class Port(NamedTuple):
    """An input: its name, its type as ONNX Runtime spells it, and its shape with None where a size is open."""

    name: str
    type: str
    shape: list[int | None]


@dataclass(frozen=True)
class OpenVinoRuntime:
    """Loads models into OpenVINO's CPU plugin, tuned for one inference at a time.

    FP32 is asked for: left alone, the plugin computes FP32 graphs in bfloat16 on CPUs that have it.

    Args:
        threads: Threads of one inference.
    """

    threads: int = 1

    @property
    def name(self) -> str:
        return "openvino"

    @property
    def version(self) -> str:
        return version_of(str(_openvino().__version__))

    def load(self, model: bytes | Path) -> "OpenVinoSession":
        return OpenVinoSession(self.open(model))

    def open(self, model: bytes | Path) -> "OpenVinoGraph":
        """Compile a graph with whatever inputs and outputs it has.

        Raises:
            NuwaError: If OpenVINO is not installed, the file is missing or damaged, or OpenVINO cannot run it.
        """
        data, ov = read_model_bytes(model), _openvino()
        origin = str(model) if isinstance(model, Path) else "the ONNX model"
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # which cores, the device says
        }
        try:
            core = ov.Core()
            return OpenVinoGraph(core.compile_model(core.read_model(data), "CPU", settings))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise NuwaError(f"OpenVINO {self.version} cannot run {origin}: {_cause(error)}") from error


class OpenVinoGraph:
    """One compiled graph.

    Args:
        compiled: OpenVINO's compiled model.
    """

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = list(compiled.outputs)
        self.inputs = [_port(value) for value in compiled.inputs]

    def runner(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a function that runs the whole graph once on ``feeds``.

        Raises:
            NuwaError: From that function, if OpenVINO fails at it.
        """
        request, values = self._request, dict(feeds)

        def run() -> None:
            try:
                request.infer(values)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                raise NuwaError(f"OpenVINO cannot run the model: {_cause(error)}") from error

        return run

    def first_output(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """Run once and return a copy of the first output."""
        self.runner(feeds)()
        return np.array(self._request.get_tensor(self._outputs[0]).data)


class OpenVinoSession:
    """One model of images in OpenVINO."""

    def __init__(self, graph: OpenVinoGraph) -> None:
        if len(graph.inputs) != 1:
            raise NuwaError(
                f"the model has {len(graph.inputs)} inputs, wanted one of images",
                hint="nuwa measure times graphs of any inputs; logits are compared for graphs of one",
            )
        self._graph, (image,) = graph, graph.inputs
        self._input_name = image.name
        self._dtype = _NUMPY_TYPES.get(image.type, image.type)
        self._shape = static_input_shape([*image.shape], name=image.name)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits."""
        require_batch(images, shape=self._shape, dtype=self._dtype)
        logits: FloatArray = self._graph.first_output({self._input_name: images}).astype(np.float32, copy=False)
        return logits


def version_of(text: str) -> str:
    """Read ``2026.4.1`` from what OpenVINO says of itself, which goes on with its build."""
    return text.split("-", 1)[0]


def _openvino() -> ModuleType:
    try:
        import openvino
    except ImportError as error:
        raise NuwaError("device openvino was asked for, and OpenVINO is not installed", hint=INSTALL_HINT) from error
    found: ModuleType = openvino
    return found


def _port(value: Any) -> Port:
    kind = value.get_element_type().get_type_name()
    sizes = [dim.get_length() if dim.is_static else None for dim in value.get_partial_shape()]
    return Port(value.get_any_name(), f"tensor({_TYPES.get(kind, kind)})", sizes)


def _cause(error: Exception) -> str:
    """Name the last line of an error that says something: the first ones name OpenVINO's own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_PLACES)]
    return " ".join(told)[:300] or str(error).strip()[:300]
