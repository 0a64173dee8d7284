"""The file beside an engine that says what it is: an engine itself cannot be asked elsewhere."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.tensorrt.version import trt_version_from_text

_SCHEMA = "nuwa.engine/1"


@dataclass(frozen=True)
class EngineInfo:
    """What an engine was built from, by and for.

    Args:
        tensorrt_version: Version that built it.
        device_name: GPU as CUDA names it.
        compute_capability: Such as ``8.7``.
        precision: What it may compute in.
        onnx_sha256: Hash of the ONNX file.
        engine_sha256: Hash of the engine itself.
        workspace_mb: Builder workspace in MiB.
    """

    tensorrt_version: str
    device_name: str
    compute_capability: str
    precision: str
    onnx_sha256: str
    engine_sha256: str
    workspace_mb: int


def info_path(engine_path: Path) -> Path:
    """Name the file that describes ``engine_path``."""
    return engine_path.with_name(engine_path.name + ".json")


def sha256_of_file(path: Path) -> str:
    """Hash a file without reading it whole into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_engine_info(info: EngineInfo, engine_path: Path) -> None:
    """Write ``info`` beside its engine."""
    values = {"schema": _SCHEMA, **dataclasses.asdict(info)}
    info_path(engine_path).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_engine_info(engine_path: Path) -> EngineInfo:
    """Read what an engine is and check that the engine has not changed since.

    Raises:
        NuwaError: If the file is missing, not of this form, or of another engine.
    """
    path = info_path(engine_path)
    if not path.exists():
        raise NuwaError(f"engine {engine_path} has no description {path.name}", hint="build the engine again")
    try:
        values = read_object(path, what="it")
        if values.pop("schema", None) != _SCHEMA:
            raise NuwaError("another schema")
        info = record_from_dict(EngineInfo, values, where="it")
    except NuwaError as error:
        raise NuwaError(
            f"{path} does not describe an engine: {error.message}", hint="build the engine again"
        ) from error
    if not engine_path.is_file():
        raise NuwaError(f"no engine at {engine_path}", hint="build it with nuwa build")
    if sha256_of_file(engine_path) != info.engine_sha256:
        raise NuwaError(
            f"engine {engine_path} is not the one that {path.name} describes", hint="build the engine again"
        )
    return info


def check_engine_fits(info: EngineInfo, spec: DeviceSpec) -> None:
    """Refuse an engine built by another TensorRT, for another GPU or in another precision.

    Raises:
        NuwaError: With the reason.
    """
    built = trt_version_from_text(info.tensorrt_version)
    wanted = trt_version_from_text(spec.runtime_version)
    hint = f"build it on the device: nuwa build DIR --device {spec.name}"
    if built != wanted:
        raise NuwaError(
            f"the engine is of TensorRT {built} and {spec.name} has {wanted}: it cannot be loaded", hint=hint
        )
    if spec.compute_capability is not None and info.compute_capability != spec.compute_capability:
        raise NuwaError(
            f"the engine is for compute capability {info.compute_capability} and {spec.name} has "
            f"{spec.compute_capability}: it cannot be loaded",
            hint=hint,
        )
    if info.precision != spec.precision:
        raise NuwaError(f"the engine is {info.precision} and {spec.name} asks for {spec.precision}", hint=hint)
