"""Any graph on a CPU runtime, fed with one fixed random value per input; types are spelt as ONNX Runtime does."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.deploy.runtimes.onnxruntime import ORT_ERRORS

Feeds = dict[str, npt.NDArray[Any]]

MAX_INPUT_BYTES = 2**30
"""Of one input: its shape stands in a file, and is what memory is taken for."""
_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_INTEGERS = {
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
}
_PIXELS = "tensor(uint8)"


class InputPort(Protocol):
    """An input as ONNX Runtime describes it."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def shape(self) -> Sequence[object]: ...


def drawn_feeds(inputs: Iterable[InputPort], *, seed: int) -> Feeds:
    """Draw a value for every input in the type that it has.

    Floats are standard normal, bytes are pixels; other integers are 0, which is an index into anything.

    Raises:
        NuwaError: If an input has an open size or a type that NumPy has no values of.
    """
    rng = np.random.default_rng(seed)
    return {value.name: _drawn(value, rng) for value in inputs}


def _drawn(value: InputPort, rng: np.random.Generator) -> npt.NDArray[Any]:
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    if any(size < 1 for size in shape):
        raise NuwaError(
            f"input {value.name!r} has shape {list(value.shape)}, wanted fixed sizes", hint="export with static shapes"
        )
    kind = _FLOATS.get(value.type) or _INTEGERS.get(value.type) or (np.uint8 if value.type == _PIXELS else None)
    if kind is None:
        known = ", ".join((*_FLOATS, *_INTEGERS, _PIXELS))
        raise NuwaError(
            f"input {value.name!r} is {value.type}, and NumPy has no values of that type to feed it with",
            hint=f"export it with inputs among {known}",
        )
    if math.prod(shape) * np.dtype(kind).itemsize > MAX_INPUT_BYTES:
        raise NuwaError(f"input {value.name!r} of shape {list(shape)} takes more than {MAX_INPUT_BYTES} bytes")
    if value.type == _PIXELS:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if value.type in _INTEGERS:
        return np.zeros(shape, dtype=kind)
    return rng.standard_normal(shape).astype(kind)


def run_with(session: onnxruntime.InferenceSession, feeds: Feeds) -> Callable[[], None]:
    """Return a function that runs the whole graph once on ``feeds``.

    Raises:
        NuwaError: From that function, if ONNX Runtime fails at it.
    """
    outputs = [value.name for value in session.get_outputs()]

    def run() -> None:
        try:
            session.run(outputs, feeds)
        except ORT_ERRORS as error:
            if is_out_of_memory(error):
                raise
            said = str(error).strip().splitlines()[0]
            raise NuwaError(f"ONNX Runtime {onnxruntime.__version__} cannot run the model: {said}") from error

    return run


def feed_warnings(session: onnxruntime.InferenceSession) -> tuple[str, ...]:
    """Return warnings about the types of the inputs, for whoever reads the latency."""
    kinds = {value.name: value.type for value in session.get_inputs()}
    said = []
    if "tensor(float16)" in kinds.values():
        said.append("FP16 graph: ONNX Runtime's CPU provider runs most of it in FP32 between casts")
    return (*said, *zeros_warning(session.get_inputs()))


def zeros_warning(inputs: Iterable[InputPort]) -> tuple[str, ...]:
    """Return a warning that names the inputs that were fed with zeros."""
    zeros = [value.name for value in inputs if value.type in _INTEGERS]
    return (f"input {', '.join(zeros)} was fed with zeros",) if zeros else ()
