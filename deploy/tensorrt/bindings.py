"""TensorRT's Python bindings, loaded when first needed and nowhere else."""

import importlib
from types import ModuleType

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_version_from_text

_OLDEST_MAJOR = 10  # first with strongly typed networks throughout the Python builder


def load_tensorrt() -> ModuleType:
    """Import `tensorrt`.

    Raises:
        NuwaError: If it or its libraries are not installed, or it is older than 10.
    """
    try:
        module = importlib.import_module("tensorrt")
    except ImportError as error:
        raise NuwaError(
            f"TensorRT's Python API cannot be loaded: {error}",
            hint="pip install 'nuwa-search[tensorrt]' on a machine with an NVIDIA GPU, or use a board's own trtexec",
        ) from error
    version = bindings_version(module)
    if version.major < _OLDEST_MAJOR:
        raise NuwaError(
            f"TensorRT {version} is too old for the Python builder, which needs {_OLDEST_MAJOR} or newer",
            hint="use --runtime trtexec, which works from 8.0 on",
        )
    return module


def bindings_version(module: ModuleType) -> TrtVersion:
    """Read the version of loaded bindings; their fourth number counts builds only."""
    return trt_version_from_text(str(module.__version__))
