"""What TensorRT cannot do, said while planning and with the reason.

Every check here costs microseconds; the failure it prevents costs minutes on a board, or shows only
as a slow or wrong engine.
"""

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_features, trt_version_from_text

# Compute capabilities whose last TensorRT is 8.2: JetPack 4.6.x is the end of the line for the
# Jetson Nano (5.3) and TX2 (6.2).
_JETPACK_4_ONLY = ("5.3", "6.2")
_JETPACK_4_LAST = (8, 2)

# CUDA programming guide, arithmetic throughput: dp4a came with 6.1 and is not in 6.0 or 6.2; half2
# arithmetic at full rate is in 5.3, 6.0, 6.2 and from 7.0 on.
_FAST_FP16_BEFORE_VOLTA = ("5.3", "6.0", "6.2")
_INT8_BEFORE_VOLTA = ("6.1",)


def has_native_int8(compute_capability: str) -> bool:
    """Whether the GPU multiplies 8-bit integers in hardware."""
    return compute_capability in _INT8_BEFORE_VOLTA or _is_volta_or_newer(compute_capability)


def has_fast_fp16(compute_capability: str) -> bool:
    """Whether FP16 arithmetic is faster than FP32 on the GPU."""
    return compute_capability in _FAST_FP16_BEFORE_VOLTA or _is_volta_or_newer(compute_capability)


def check_precision(precision: Precision, *, compute_capability: str | None) -> None:
    """Refuse a precision that the GPU has no arithmetic for; None passes everything.

    Raises:
        NuwaError: With the reason.
    """
    if compute_capability is None:
        return
    if precision == "int8" and not has_native_int8(compute_capability):
        raise NuwaError(
            f"INT8 was asked for on compute capability {compute_capability}, which has no native INT8: "
            "TensorRT builds slower engines there and refuses Q/DQ models",
            hint="use --precision fp16",
        )
    if precision == "fp16" and not has_fast_fp16(compute_capability):
        raise NuwaError(
            f"FP16 was asked for on compute capability {compute_capability}, which has no fast FP16 arithmetic",
            hint="use --precision fp32",
        )


def check_version(version: TrtVersion, *, compute_capability: str | None) -> None:
    """Refuse a TensorRT that does not run on the GPU at all.

    Raises:
        NuwaError: With the reason.
    """
    if compute_capability in _JETPACK_4_ONLY and version.release > _JETPACK_4_LAST:
        raise NuwaError(
            f"TensorRT {version} does not run on compute capability {compute_capability}: JetPack 4.6.x with "
            "TensorRT 8.2 is the last for it",
            hint="use runtime version 8.2.1 (JetPack 4.6.1 or newer) or 8.0.1 (JetPack 4.6)",
        )


def check_opset(opset: int, *, version: str) -> None:
    """Refuse an ONNX opset newer than the parser's published list.

    Raises:
        NuwaError: With the newest opset that works.
    """
    newest = trt_features(trt_version_from_text(version)).opset
    if opset > newest:
        raise NuwaError(
            f"the model is ONNX opset {opset}; the parser of TensorRT {version} takes up to opset {newest}",
            hint=f"write it at opset {newest}; nuwa export DIR --device NAME chooses the opset for the device",
        )


def check_spec(spec: DeviceSpec) -> None:
    """Refuse a device whose runtime, precision or batch TensorRT cannot serve.

    Raises:
        NuwaError: With the reason.
    """
    version = trt_version_from_text(spec.runtime_version)
    check_version(version, compute_capability=spec.compute_capability)
    check_precision(spec.precision, compute_capability=spec.compute_capability)
    if spec.batch < 1:
        raise NuwaError(f"device {spec.name} needs a batch of at least 1, found {spec.batch}")


def _is_volta_or_newer(compute_capability: str) -> bool:
    major = compute_capability.split(".")[0]
    if not major.isdigit():
        raise NuwaError(f"compute capability {compute_capability!r} is not of the form 5.3")
    return int(major) >= 7
