"""What tells this machine's CPU from another's, read without loading anything heavy."""

import os
import platform
from dataclasses import replace
from pathlib import Path

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.installed import installed_version

_CPUINFO = Path("/proc/cpuinfo")


def host_spec(*, name: str = "host", threads: int = 1, affinity: tuple[int, ...] = ()) -> DeviceSpec:
    """Describe ONNX Runtime on this CPU; threads, affinity and CPU model are part of the identity.

    Args:
        name: Name in the registry.
        threads: Threads inside one operator.
        affinity: Cores the process is bound to while measuring; empty for as it is.
    """
    cores = ",".join(str(c) for c in affinity) or "any"
    return DeviceSpec(
        name=name,
        kind="host",
        runtime="onnxruntime",
        runtime_version=installed_version("onnxruntime") or "",
        precision="fp32",
        opset=17,  # the first with LayerNormalization, which ONNX Runtime fuses and times as one kernel
        options=(("affinity", cores), ("cpu", cpu_model()), ("threads", str(threads))),
        note=f"ONNX Runtime on this CPU, {threads} thread" + ("s" if threads != 1 else ""),
    )


def openvino_spec() -> DeviceSpec | None:
    """Describe OpenVINO on this CPU, in everything but the runtime as ``host`` is; None where it is not installed."""
    version = installed_version("openvino")
    if version is None:
        return None
    return replace(
        host_spec(),
        name="openvino",
        kind="openvino",
        runtime="openvino",
        runtime_version=version,
        note="OpenVINO on this CPU, 1 thread",
    )


def cpu_model() -> str:
    """Return the name of the CPU model; the machine type where the system does not tell."""
    try:
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def threads_of(spec: DeviceSpec) -> int:
    """Read the number of threads from a host spec; 1 where it is not said."""
    return int(dict(spec.options).get("threads", "1"))


def affinity_of(spec: DeviceSpec) -> tuple[int, ...]:
    """Read the cores from a host spec; empty for any."""
    cores = dict(spec.options).get("affinity", "any")
    return () if cores == "any" else tuple(int(c) for c in cores.split(","))


def load_average() -> str | None:
    """Return the machine's load over the last minute; None where it cannot be had."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else None
