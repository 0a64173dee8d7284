"""Build an engine on this machine through TensorRT's Python API, 10 and 11.

Networks are strongly typed in both: 11 knows no others, and one meaning of a precision is worth more
than the flags that 10 still has. So an FP16 engine needs an ONNX file with FP16 types.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import torch

from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.onnx_file import load_weights_beside, parse_onnx, read_onnx_bytes
from nuwa_search.core.peak_memory import BYTES_PER_MB
from nuwa_search.deploy.tensorrt.bindings import bindings_version, load_tensorrt
from nuwa_search.deploy.tensorrt.engine_info import EngineInfo, sha256_of_file, write_engine_info
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.refusals import check_precision, check_version
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision

MAX_CACHE_BYTES = 256 * 2**20
"""Of a timing cache; one with every tactic of a few hundred nets has some ten MB."""


@dataclass(frozen=True)
class LocalGpu:
    """The GPU that engines are built on and for."""

    name: str
    compute_capability: str
    memory_mb: int


def find_local_gpu() -> LocalGpu:
    """Describe this machine's first GPU.

    Raises:
        NuwaError: If there is none.
    """
    if not torch.cuda.is_available():
        raise NuwaError(
            "an engine can be built only where its GPU is, and this machine has none",
            hint="build on the device: nuwa build DIR --device NAME, or run build.sh from the bundle there",
        )
    properties = torch.cuda.get_device_properties(0)
    return LocalGpu(properties.name, f"{properties.major}.{properties.minor}", properties.total_memory // BYTES_PER_MB)


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    *,
    precision: Precision,
    workspace_mb: int,
    timing_cache_path: Path | None = None,
) -> EngineInfo:
    """Build an engine and write it with its description beside it.

    Args:
        onnx_path: The model, with static shapes and the types of ``precision``.
        engine_path: Where the engine goes; ``<name>.json`` beside it says what it is.
        precision: What the graph must carry, and what the engine is labelled.
        workspace_mb: Most scratch memory a kernel may ask for, in MiB.
        timing_cache_path: Kernel timings kept between builds; created when missing.

    Raises:
        NuwaError: If TensorRT is missing, or the model, precision or GPU do not go together.
        OutsideError: If the build failed on the GPU.
    """
    trt = load_tensorrt()
    gpu = find_local_gpu()
    version = bindings_version(trt)
    model = parse_onnx(read_onnx_bytes(onnx_path), origin=str(onnx_path))
    load_weights_beside(model, onnx_path)
    check_version(version, compute_capability=gpu.compute_capability)
    check_precision(precision, compute_capability=gpu.compute_capability)
    check_operators(model, version=str(version))
    # Strongly typed in 10 too, so the types have to say it there as they do in 11.
    check_typed_precision(model, precision=precision, version="11.0.0")
    plan = _build_plan(trt, model, workspace_mb=workspace_mb, timing_cache_path=timing_cache_path)
    _write_whole(engine_path, plan)
    info = EngineInfo(
        tensorrt_version=str(version),
        device_name=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=precision,
        onnx_sha256=sha256_of_file(onnx_path),
        engine_sha256=sha256_of_file(engine_path),
        workspace_mb=workspace_mb,
    )
    write_engine_info(info, engine_path)
    return info


def _build_plan(trt: ModuleType, model: onnx.ModelProto, *, workspace_mb: int, timing_cache_path: Path | None) -> bytes:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        causes = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise NuwaError(f"TensorRT cannot parse the model: {causes}", hint="export it again with --device")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb * BYTES_PER_MB)
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32, as on the trtexec line
    _attach_timing_cache(config, timing_cache_path)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise OutsideError(
            "TensorRT built no engine; its log above says why",
            hint="free GPU memory, or give another --workspace-mb",
        )
    if timing_cache_path is not None:
        _write_whole(timing_cache_path, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _attach_timing_cache(config: Any, path: Path | None) -> None:
    if path is None:
        return
    stored = path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_CACHE_BYTES else b""
    if stored and config.set_timing_cache(config.create_timing_cache(stored), False):
        return
    # A cache of another GPU or version is refused by TensorRT; start anew rather than fail.
    config.set_timing_cache(config.create_timing_cache(b""), False)


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
