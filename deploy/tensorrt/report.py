"""The text report of `trtexec`: what ran, whether it finished, and its summary.

The report is the witness of a run: it alone says that `trtexec` finished, how many inferences it
counted and what their median was. A log that does not hold all of that gives no figure at all.
"""

import re
from dataclasses import dataclass

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_version_from_text

_HEADER = re.compile(r"&&&& RUNNING TensorRT\.trtexec \[TensorRT v([\d.]+)\]")
_PASSED = re.compile(r"^&&&& PASSED TensorRT\.trtexec ", re.MULTILINE)
_FAILED = re.compile(r"^&&&& FAILED TensorRT\.trtexec ", re.MULTILINE)
_NUMBER = r"(-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan))"
_WARMUP = re.compile(r"Warmup completed (\d+) queries over ")
_TRACE = re.compile(rf"Timing trace has (\d+) queries over {_NUMBER} s")
_METRIC = re.compile(
    rf"\] (Latency|Enqueue Time|GPU Compute Time): min = {_NUMBER} ms, max = {_NUMBER} ms, "
    rf"mean = {_NUMBER} ms, median = {_NUMBER} ms, percentile\("
)
_DEVICE = re.compile(r"Selected Device: (.+)")
_CAPABILITY = re.compile(r"Compute Capability: (\d+\.\d+)")
_BUILT = re.compile(rf"Engine built in {_NUMBER} sec")
_MANAGED = re.compile(r"TensorRT-managed allocation in .*now: CPU \d+, GPU (\d+) \(MiB\)")
_GRAPH_IGNORED = re.compile(r"useCudaGraph flag has been ignored|without using CUDA graph")


class CutOffError(OutsideError):
    """The output of `trtexec` stops before its end or contradicts itself; running again may help."""


@dataclass(frozen=True)
class Summary:
    """One line of the performance summary, in milliseconds."""

    min: float
    max: float
    mean: float
    median: float


@dataclass(frozen=True)
class TrtexecReport:
    """A finished run of `trtexec`.

    Args:
        version: TensorRT that ran.
        device_name: GPU as CUDA names it; None where the log does not say.
        compute_capability: Such as ``5.3``; None where the log does not say.
        build_s: Seconds the engine took to build; None where none was built.
        managed_memory_mb: Most memory TensorRT itself held on the GPU: what ``core/peak_memory.py`` counts;
            None where the log does not say, as before 8.2.
        num_warmup: Discarded inferences; 0 where nothing was timed.
        num_timed: Counted inferences; 0 where nothing was timed.
        latency: Compute and transfers; None where nothing was timed.
        compute: GPU time; None where nothing was timed.
        enqueue: Time the CPU needed to launch; None where nothing was timed.
        cuda_graph_ignored: A CUDA graph was asked for and could not be captured.
    """

    version: TrtVersion
    device_name: str | None
    compute_capability: str | None
    build_s: float | None
    managed_memory_mb: float | None
    num_warmup: int = 0
    num_timed: int = 0
    latency: Summary | None = None
    compute: Summary | None = None
    enqueue: Summary | None = None
    cuda_graph_ignored: bool = False


def read_trtexec_version(text: str) -> TrtVersion | None:
    """Read the version from the header that `trtexec --help` and every run begin with."""
    match = _HEADER.search(text)
    return trt_version_from_text(match[1]) if match else None


def parse_report(text: str) -> TrtexecReport:
    """Parse the whole output of a run of `trtexec` that built, timed or profiled.

    Args:
        text: Standard output and error of one run.

    Raises:
        CutOffError: If the header or the closing line is missing, or the summary is not whole.
        NuwaError: If the TensorRT version is not known.
    """
    version = read_trtexec_version(text)
    if version is None:
        raise CutOffError("this is no output of trtexec: its header line is missing")
    if len(_HEADER.findall(text)) > 1:
        raise CutOffError("the output holds more than one run of trtexec")
    if _FAILED.search(text) or not _PASSED.search(text):
        raise CutOffError("the output of trtexec has no line that says PASSED at its end: it was cut off or failed")
    metrics = {m[1]: Summary(*(_number(m[i]) for i in range(2, 6))) for m in _METRIC.finditer(text)}
    warmup, trace = _WARMUP.search(text), _TRACE.search(text)
    is_timed = bool(metrics or warmup or trace)
    if is_timed and not (warmup and trace and len(metrics) == 3):
        raise CutOffError("the performance summary of trtexec is not whole")
    managed = [float(m[1]) for m in _MANAGED.finditer(text)]
    return TrtexecReport(
        version=version,
        device_name=_text(_DEVICE, text),
        compute_capability=_text(_CAPABILITY, text),
        build_s=_number(built[1]) if (built := _BUILT.search(text)) else None,
        managed_memory_mb=max(managed) if managed else None,
        num_warmup=int(warmup[1]) if warmup else 0,
        num_timed=int(trace[1]) if trace else 0,
        latency=metrics.get("Latency"),
        compute=metrics.get("GPU Compute Time"),
        enqueue=metrics.get("Enqueue Time"),
        cuda_graph_ignored=bool(_GRAPH_IGNORED.search(text)),
    )


def check_report_version(report: TrtexecReport, *, version: str) -> None:
    """Refuse a run of another TensorRT release than was planned for.

    Raises:
        NuwaError: If major or minor differ.
    """
    if report.version.release != trt_version_from_text(version).release:
        raise NuwaError(
            f"planned for TensorRT {version}, and {report.version} ran",
            hint="give the device its real runtime version: nuwa doctor shows it",
        )


def _text(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[1].strip() if match else None


def _number(text: str) -> float:
    value = float(text)
    if value < 0 or value != value or value == float("inf"):
        raise CutOffError(f"trtexec printed {text} for a time")
    return value
