"""Command lines of `trtexec`, by TensorRT version.

A line holds every setting that changes a latency, also where it repeats a default: defaults moved
between versions, and two figures may be compared only if the same things were asked for.
"""

import math
import shlex
from collections.abc import Mapping, Sequence

from nuwa_search.core.device import MeasureProtocol, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.version import trt_features, trt_version_from_text

# Where JetPack and the Debian packages put it; it is on no default PATH.
TRTEXEC_PATHS = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")

# An engine is built beside the OS, a 0.6-1.1 GB CUDA + cuBLAS + cuDNN context and two copies of the
# weights (boards share memory between CPU and GPU). An eighth leaves 4 GB boards room for all that.
_WORKSPACE_SHARE = 8
_WORKSPACE_UNKNOWN_MB = 256
_WORKSPACE_RANGE_MB = (64, 4096)


def default_workspace_mb(memory_mb: int | None) -> int:
    """Choose a builder workspace in MiB for a device of ``memory_mb`` (None: not known)."""
    if memory_mb is None:
        return _WORKSPACE_UNKNOWN_MB
    low, high = _WORKSPACE_RANGE_MB
    return max(low, min(high, memory_mb // _WORKSPACE_SHARE))


def build_line(
    onnx_path: str,
    engine_path: str,
    *,
    version: str,
    precision: Precision,
    workspace_mb: int,
    timing_cache: str | None = None,
    trtexec: str = "trtexec",
) -> list[str]:
    """Make the arguments that build an engine from an ONNX file and run nothing.

    INT8 stands for a graph with Q/DQ nodes whose other layers may run in FP16. TensorRT 11 has no
    precision flags: there the line is the same for all, and the ONNX types decide. FP32 means FP32:
    TF32, which keeps 10 bits of the mantissa on Ampere and newer, is switched off.

    Args:
        onnx_path: The model on the device.
        engine_path: Where the engine goes on the device.
        version: TensorRT version such as ``8.2.1``.
        precision: What the engine may compute in.
        workspace_mb: Most scratch memory a kernel may ask for, in MiB.
        timing_cache: File on the device that keeps kernel timings between builds; None for none.
        trtexec: The executable.

    Raises:
        NuwaError: If the version is not known or a value is out of range.
    """
    features = trt_features(trt_version_from_text(version))
    if workspace_mb < 1:
        raise NuwaError(f"the builder workspace must be at least 1 MiB, found {workspace_mb}")
    line = [trtexec, f"--onnx={onnx_path}", f"--saveEngine={engine_path}"]
    if features.has_mem_pool_size:
        line.append(f"--memPoolSize=workspace:{workspace_mb}")
    else:
        line.append(f"--workspace={workspace_mb}")
    if features.has_precision_flags:
        line += {"fp32": ["--noTF32"], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[precision]
    if timing_cache is not None:
        line.append(f"--timingCacheFile={timing_cache}")
    line.append("--skipInference" if features.has_skip_inference else "--buildOnly")
    return line


def measure_line(
    engine_path: str,
    *,
    version: str,
    protocol: MeasureProtocol,
    export_times: str,
    trtexec: str = "trtexec",
) -> list[str]:
    """Make the arguments that time an engine and write each inference to ``export_times``.

    Durations are whole numbers, rounded up: older releases read them as integers. There is no
    profiler in this run because it perturbs timing; see ``profile_line``.

    Args:
        engine_path: The engine on the device.
        version: TensorRT version such as ``8.2.1``.
        protocol: Warm-up, duration and repetitions, transfers, CUDA graph.
        export_times: File on the device for the time of each inference.
        trtexec: The executable.

    Raises:
        NuwaError: If the version is not known.
    """
    features = trt_features(trt_version_from_text(version))
    seconds = math.ceil(protocol.min_duration_ms / 1000)
    line = [
        *_run_line(engine_path, trtexec=trtexec, protocol=protocol, seconds=seconds),
        f"--exportTimes={export_times}",
    ]
    if features.is_lean_by_default:
        line += ["--includeDataTransfers"] if protocol.transfers else []
        line += [] if protocol.cuda_graph else ["--noCudaGraph"]
        return line  # spin-wait is on by default here
    line += [] if protocol.transfers else ["--noDataTransfers"]
    line += ["--useCudaGraph"] if protocol.cuda_graph else []
    return [*line, "--useSpinWait"]


def profile_line(
    engine_path: str,
    *,
    version: str,
    protocol: MeasureProtocol,
    export_profile: str,
    trtexec: str = "trtexec",
) -> list[str]:
    """Make the arguments of a run of its own that times each layer into ``export_profile``.

    Its total is larger than the measured latency (each layer is synchronised), so only the shares
    of the layers are used. CUDA graphs are off: a graph hides its layers from the profiler on
    CUDA 10.2.

    Args:
        engine_path: The engine on the device.
        version: TensorRT version such as ``8.2.1``.
        protocol: Of the measured latency; its minimum duration does not count here.
        export_profile: File on the device for the time of each layer.
        trtexec: The executable.

    Raises:
        NuwaError: If the version is not known.
    """
    features = trt_features(trt_version_from_text(version))
    line = _run_line(engine_path, trtexec=trtexec, protocol=protocol, seconds=0)
    line += [f"--exportProfile={export_profile}"]
    return [*line, "--noCudaGraph"] if features.is_lean_by_default else [*line, "--noDataTransfers"]


def _run_line(engine_path: str, *, trtexec: str, protocol: MeasureProtocol, seconds: int) -> list[str]:
    return [
        trtexec,
        f"--loadEngine={engine_path}",
        f"--warmUp={math.ceil(protocol.warmup_ms)}",
        f"--duration={seconds}",
        f"--iterations={protocol.min_repetitions}",
    ]


def infer_line(
    engine_path: str,
    *,
    version: str,
    inputs: Mapping[str, str],
    export_output: str,
    trtexec: str = "trtexec",
) -> list[str]:
    """Make the arguments that run an engine once on given inputs and write its outputs.

    Inputs are raw files in the order of memory, little-endian; outputs a JSON file of six digits.
    TensorRT 11 leaves transfers out unless told otherwise, and an output that was never copied back is not one.

    Args:
        engine_path: The engine on the device.
        version: TensorRT version such as ``8.2.1``.
        inputs: File on the device by input name; `trtexec` splits its list at ``:`` and ``,``, so neither may hold one.
        export_output: Where the outputs go.
        trtexec: The executable.

    Raises:
        NuwaError: If the version is not known, or a name holds what `trtexec` splits at.
    """
    features = trt_features(trt_version_from_text(version))
    for part in (*inputs, *inputs.values()):
        if any(mark in part for mark in ":,'"):
            raise NuwaError(f"trtexec cannot take an input called {part!r}: it splits --loadInputs at : and ,")
    line = [
        trtexec,
        f"--loadEngine={engine_path}",
        "--loadInputs=" + ",".join(f"{name}:{path}" for name, path in inputs.items()),
        f"--exportOutput={export_output}",
        "--iterations=1",
        "--warmUp=0",
        "--duration=0",
    ]
    return [*line, "--includeDataTransfers", "--noCudaGraph"] if features.is_lean_by_default else line


def shell_line(line: Sequence[str]) -> str:
    """Quote a command for a POSIX shell."""
    return shlex.join(line)
