"""The text report of `trtexec`: what ran, whether it finished, and its summary.

The report is the witness of a run: it alone says that `trtexec` finished, how many inferences it
counted and what their median was. A log that does not hold all of that gives no figure at all.
"""

import re
from dataclasses import dataclass, field

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt.log_source import LogSource, log_lines
from nuwa_search.deploy.tensorrt.version import KNOWN_RANGE, TrtVersion, trt_version_from_text

_HEADER = re.compile(r"&&&& RUNNING TensorRT\.trtexec \[TensorRT v([\d.]+)\]")
# TensorRT 7 and older print no version there: the command line follows at once.
_OLD_HEADER = re.compile(r"&&&& RUNNING TensorRT\.trtexec #")
_PASSED = "&&&& PASSED TensorRT.trtexec "
_FAILED = "&&&& FAILED TensorRT.trtexec "
_NUMBER = r"(-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan))"
_WARMUP = re.compile(r"Warmup completed (\d+) queries over ")
_TRACE = re.compile(rf"Timing trace has (\d+) queries over {_NUMBER} s")
_METRIC = re.compile(
    rf"\] (Latency|Enqueue Time|GPU Compute Time): min = {_NUMBER} ms, max = {_NUMBER} ms, "
    rf"mean = {_NUMBER} ms, median = {_NUMBER} ms, percentile\("
)
_PERCENTILE = re.compile(rf"percentile\((\d+(?:\.\d+)?)%\) = {_NUMBER} ms")
_DEVICE = re.compile(r"Selected Device: (.+)")
_CAPABILITY = re.compile(r"Compute Capability: (\d+\.\d+)")
_BUILT = re.compile(rf"Engine built in {_NUMBER} sec")
_MANAGED = re.compile(r"TensorRT-managed allocation in .*now: CPU \d+, GPU (\d+) \(MiB\)")
_GRAPH_IGNORED = re.compile(r"useCudaGraph flag has been ignored|without using CUDA graph")


class CutOffError(OutsideError):
    """The output of `trtexec` stops before its end or contradicts itself; running again may help."""


@dataclass(frozen=True)
class Summary:
    """One line of the performance summary, in milliseconds.

    Args:
        min: Shortest.
        max: Longest.
        mean: Mean, of a 32-bit sum.
        median: Median.
        percentiles: Percentage and value of each that was printed: 99 alone before 8.5, 90, 95 and 99 from then on.
    """

    min: float
    max: float
    mean: float
    median: float
    percentiles: tuple[tuple[float, float], ...] = ()


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


def read_trtexec_version(source: LogSource) -> TrtVersion | None:
    """Read the version from the header that `trtexec --help` and every run begin with; None without a header.

    Raises:
        NuwaError: If the version is not known; TensorRT 7 and older are known by the missing number.
    """
    for line in log_lines(source):
        if match := _HEADER.search(line):
            return trt_version_from_text(match[1])
        if is_old_header(line):
            raise old_version_error()
    return None


def is_old_header(line: str) -> bool:
    """Whether a line is the header of TensorRT 7 or older."""
    return _OLD_HEADER.search(line) is not None


def old_version_error() -> NuwaError:
    """Make the error for a `trtexec` that is too old to be read."""
    return NuwaError(
        f"this is TensorRT 7 or older: its trtexec prints no version, and {KNOWN_RANGE} are known here",
        hint="install JetPack 4.6 (TensorRT 8.0) or newer on the board; nuwa doctor DEVICE shows what it has",
    )


def parse_report(source: LogSource) -> TrtexecReport:
    """Parse the whole output of a run of `trtexec` that built, timed or profiled, in bounded memory.

    Args:
        source: Standard output and error of one run, or the file that holds them.

    Raises:
        CutOffError: If the header or the closing line is missing, or the summary is not whole.
        NuwaError: If the TensorRT version is not known.
    """
    found = _Reading()
    for line in log_lines(source):
        found.take(line)
    return found.report()


@dataclass
class _Reading:
    """What the lines read so far say."""

    versions: list[TrtVersion] = field(default_factory=list)
    has_passed: bool = False
    has_failed: bool = False
    num_warmup: int | None = None
    num_timed: int | None = None
    metrics: dict[str, Summary] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    build_s: float | None = None
    managed_mb: float | None = None
    is_graph_ignored: bool = False

    def take(self, line: str) -> None:
        if line.startswith("&&&&") or "&&&& RUNNING" in line:
            self._take_mark(line)
        if metric := _METRIC.search(line):
            percentiles = tuple((float(m[1]), _number(m[2])) for m in _PERCENTILE.finditer(line))
            low, high, mean, median = (_number(metric[i]) for i in range(2, 6))
            self.metrics[metric[1]] = Summary(low, high, mean, median, percentiles)
        elif warmup := _WARMUP.search(line):
            self.num_warmup = int(warmup[1])
        elif trace := _TRACE.search(line):
            self.num_timed = int(trace[1])
        elif built := _BUILT.search(line):
            self.build_s = _number(built[1])
        elif managed := _MANAGED.search(line):
            self.managed_mb = max(float(managed[1]), self.managed_mb or 0.0)
        elif _GRAPH_IGNORED.search(line):
            self.is_graph_ignored = True
        else:
            for name, pattern in (("device", _DEVICE), ("capability", _CAPABILITY)):
                if name not in self.texts and (match := pattern.search(line)):
                    self.texts[name] = match[1].strip()

    def _take_mark(self, line: str) -> None:
        if is_old_header(line):
            raise old_version_error()
        if (header := _HEADER.search(line)) and len(self.versions) < 2:
            self.versions.append(trt_version_from_text(header[1]))
        self.has_passed |= line.startswith(_PASSED)
        self.has_failed |= line.startswith(_FAILED)

    def report(self) -> TrtexecReport:
        if not self.versions:
            raise CutOffError("this is no output of trtexec: its header line is missing")
        if len(self.versions) > 1:
            raise CutOffError("the output holds more than one run of trtexec")
        if self.has_failed or not self.has_passed:
            raise CutOffError("the output of trtexec has no line that says PASSED at its end: it was cut off or failed")
        is_timed = bool(self.metrics) or self.num_warmup is not None or self.num_timed is not None
        is_whole = self.num_warmup is not None and self.num_timed is not None and len(self.metrics) == 3
        if is_timed and not is_whole:
            raise CutOffError("the performance summary of trtexec is not whole")
        return TrtexecReport(
            version=self.versions[0],
            device_name=self.texts.get("device"),
            compute_capability=self.texts.get("capability"),
            build_s=self.build_s,
            managed_memory_mb=self.managed_mb,
            num_warmup=self.num_warmup or 0,
            num_timed=self.num_timed or 0,
            latency=self.metrics.get("Latency"),
            compute=self.metrics.get("GPU Compute Time"),
            enqueue=self.metrics.get("Enqueue Time"),
            cuda_graph_ignored=self.is_graph_ignored,
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


def _number(text: str) -> float:
    value = float(text)
    if value < 0 or value != value or value == float("inf"):
        raise CutOffError(f"trtexec printed {text} for a time")
    return value
