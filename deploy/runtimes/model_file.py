"""Read an exported model's bytes and its declared ends, with errors a person can use."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.onnx_file import damaged, parse_onnx, read_onnx_bytes
from nuwa_search.core.runtime import Images

__all__ = ["constant_values", "damaged", "parse_model", "read_model_bytes", "require_batch", "static_input_shape"]


def read_model_bytes(model: bytes | Path) -> bytes:
    """Return the bytes of a model given as bytes or as a path.

    Raises:
        NuwaError: If the file cannot be read.
    """
    return model if isinstance(model, bytes) else read_onnx_bytes(model)


def parse_model(data: bytes, *, origin: str = "the ONNX model") -> onnx.ModelProto:
    """Parse a model and look it over.

    Raises:
        NuwaError: If the bytes are no ONNX model, or one whose sizes, types or weights contradict each other.
    """
    return parse_onnx(data, origin=origin)


def constant_values(tensor: onnx.TensorProto) -> npt.NDArray[np.generic]:
    """Read the values of a constant.

    Raises:
        NuwaError: If the model holds its shape alone, or values of a kind that NumPy has not.
    """
    try:
        return np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise NuwaError(
            f"constant {tensor.name!r} of the model cannot be read: {str(error)[:200]}", hint="export the model again"
        ) from error


def static_input_shape(shape: list[int | str | None], *, name: str) -> tuple[int, int, int, int]:
    """Check that an input is four-dimensional with fixed sizes.

    Raises:
        NuwaError: If it is not.
    """
    sizes = [s for s in shape if isinstance(s, int) and s > 0]
    if len(sizes) != 4 or len(shape) != 4:
        raise NuwaError(
            f"input {name!r} has shape {shape}, wanted four fixed sizes (batch, channels, height, width)",
            hint="export with static shapes",
        )
    return sizes[0], sizes[1], sizes[2], sizes[3]


def require_batch(images: Images, *, shape: tuple[int, int, int, int], dtype: str) -> None:
    """Refuse a batch of another shape or type than the model's.

    Raises:
        NuwaError: If they differ.
    """
    if images.shape != shape or images.dtype.name != dtype:
        raise NuwaError(f"the model takes {dtype} images {shape}, found {images.dtype.name} {images.shape}")
