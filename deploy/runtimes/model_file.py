"""Read an exported model's bytes and its declared ends, with errors a person can use."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no type hints

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import Images


def read_model_bytes(model: bytes | Path) -> bytes:
    """Return the bytes of a model given as bytes or as a path.

    Raises:
        NuwaError: If the file cannot be read.
    """
    if isinstance(model, bytes):
        return model
    try:
        return model.read_bytes()
    except OSError as error:
        raise NuwaError(
            f"no ONNX model at {model}: {error.strerror or error}", hint="`nuwa export DIR` writes one"
        ) from error


def parse_model(data: bytes, *, origin: str = "the ONNX model") -> onnx.ModelProto:
    """Parse a model.

    Raises:
        NuwaError: If the bytes are not an ONNX model.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise damaged(origin, str(error)) from error
    if not model.graph.output:
        raise damaged(origin, "it has no graph")
    return model


def damaged(origin: str, reason: str) -> NuwaError:
    """Build the error for a model that cannot be read."""
    return NuwaError(f"{origin} cannot be read: {reason}", hint="export it again, or copy the file again")


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
