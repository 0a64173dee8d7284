"""Arrays in a ``.npz`` file, read within bounds: a size in a header never sets an allocation."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

MAX_BYTES = 256 * 2**20
"""Of all arrays together: 64 vectors of 1024 numbers to a hidden layer of 1024 have 268 MB in FP32."""
MAX_ARRAYS = 256

Floats = npt.NDArray[np.float32]


def write_npz(path: Path, arrays: Mapping[str, Floats]) -> None:
    """Write plain FP32 arrays, not compressed, so that their sizes can be held against the file's."""
    np.savez(path, **{name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]


def read_npz(path: Path, *, what: str, hint: str = "") -> dict[str, Floats]:
    """Read FP32 arrays; nothing is unpickled.

    Raises:
        NuwaError: If it is missing, no such file, too large, or an array is of another type, size or not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, f"{what} {path}", hint)
    except FileNotFoundError as error:
        raise NuwaError(f"{what} {path} is missing", hint=hint) from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        EOFError,
        TypeError,
        SyntaxError,
        RuntimeError,
    ) as error:
        raise NuwaError(f"{what} {path} cannot be read: {str(error)[:200]}", hint=hint) from error


def _read(archive: zipfile.ZipFile, what: str, hint: str) -> dict[str, Floats]:
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ARRAYS or total > MAX_BYTES:
        raise NuwaError(f"{what} holds {len(entries)} arrays of {total} bytes, too many", hint=hint)
    arrays: dict[str, Floats] = {}
    for entry in entries:
        name = checked.file_name(entry.filename, f"array in {what}").removesuffix(".npy")
        if entry.compress_type != zipfile.ZIP_STORED or name in arrays:
            raise NuwaError(f"{what} holds array {name!r} twice or compressed, as this program never writes it")
        arrays[name] = _array(archive.read(entry), f"array {name!r} in {what}", hint)
    return arrays


def _array(content: bytes, what: str, hint: str) -> Floats:
    magic = b"\x93NUMPY\x01\x00"
    if not content.startswith(magic) or len(content) < len(magic) + 2:
        raise NuwaError(f"{what} is no array of NumPy's format 1.0", hint=hint)
    stream = io.BytesIO(content)
    npy.read_magic(stream)
    shape, is_fortran, kind = npy.read_array_header_1_0(stream)
    body = content[stream.tell() :]
    size = 4
    for side in shape:
        size *= side
    if kind != np.dtype("<f4") or is_fortran or any(side < 1 for side in shape) or size != len(body):
        raise NuwaError(f"{what} is {kind} of shape {shape} in {len(body)} bytes, wanted FP32", hint=hint)
    array = np.frombuffer(body, "<f4").reshape(shape)
    if not np.isfinite(array).all():
        raise NuwaError(f"{what} holds values that are no finite numbers", hint=hint)
    return array
