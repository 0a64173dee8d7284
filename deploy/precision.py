"""A device in another precision than it is registered with."""

import dataclasses

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.refusals import check_precision

_CPU_RUNTIMES = {"onnxruntime": "ONNX Runtime's CPU provider", "openvino": "OpenVINO, asked for FP32 here,"}


def spec_with_precision(spec: DeviceSpec, precision: Precision | None) -> DeviceSpec:
    """Return the device told to compute in ``precision``; None leaves it as it is.

    Raises:
        NuwaError: If its runtime or GPU does not compute in it, with the reason.
    """
    if precision is None or precision == spec.precision:
        return spec
    check_precision(precision, compute_capability=spec.compute_capability)
    if spec.runtime in _CPU_RUNTIMES and precision == "fp16":
        raise NuwaError(
            f"FP16 was asked for on {spec.name}: {_CPU_RUNTIMES[spec.runtime]} computes FP16 graphs in FP32",
            hint="use --precision fp32 or int8",
        )
    return dataclasses.replace(spec, precision=precision)


def spec_of_bundle(spec: DeviceSpec, certified: DeviceSpec) -> DeviceSpec:
    """Return ``certified`` where it is ``spec`` in another precision, so that its model is held to its own budget."""
    return certified if dataclasses.replace(certified, precision=spec.precision) == spec else spec
