"""What a timed run of `trtexec` amounts to, from the files it left: shared by SSH and hand-carried runs."""

from dataclasses import dataclass

from nuwa_search.core.device import KernelTime, LatencyStats, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.log_source import LogSource
from nuwa_search.deploy.tensorrt.profile import kernels_from_profile
from nuwa_search.deploy.tensorrt.report import CutOffError, TrtexecReport, check_report_version, parse_report
from nuwa_search.deploy.tensorrt.times import stats_from_times

# Above this the median of a short run is not repeatable to 1 %; the protocol asks for the warning.
_UNSTABLE_CV = 0.025

# Share of the GPU time that launching takes from which on the CPU, not the GPU, sets the pace
# (the threshold trtexec itself warns at).
_ENQUEUE_BOUND = 0.8


@dataclass(frozen=True)
class RunResult:
    """Figures of one timed run."""

    report: TrtexecReport
    latency_ms: LatencyStats
    samples: int
    breakdown: tuple[KernelTime, ...]
    warnings: tuple[str, ...]

    @property
    def is_unstable(self) -> bool:
        """Whether the run is too noisy to rest on."""
        return self.latency_ms.cv > _UNSTABLE_CV


def read_run(
    log: LogSource,
    *,
    times: LogSource,
    protocol: MeasureProtocol,
    version: str,
    profile_log: LogSource | None = None,
    profile: LogSource | None = None,
) -> RunResult:
    """Read one run: its log, its times file and, from a run of its own, the layer profile.

    A profile that cannot be read costs the breakdown and leaves a warning; the latency never rests
    on it.

    Args:
        log: Output of the run made with ``measure_line``; this and the others as text or as the file.
        times: Content of its ``--exportTimes`` file.
        protocol: What was asked for.
        version: TensorRT version that was planned for.
        profile_log: Output of the run made with ``profile_line``; None where there was none.
        profile: Content of its ``--exportProfile`` file; None where there was none.

    Raises:
        CutOffError: If log or times are not whole, or the run fell short of the protocol.
        NuwaError: If another TensorRT ran, or it could not do what the protocol asks.
    """
    report = parse_report(log)
    check_report_version(report, version=version)
    if protocol.cuda_graph and report.cuda_graph_ignored:
        raise NuwaError(
            "the protocol asks for a CUDA graph and this engine cannot be captured into one",
            hint="measure without CUDA graph",
        )
    stats, samples = stats_from_times(times, report=report, transfers=protocol.transfers)
    if samples < protocol.min_repetitions:
        raise CutOffError(f"the run holds {samples} inferences; the protocol asks for {protocol.min_repetitions}")
    warnings = _warnings(report, stats)
    breakdown: tuple[KernelTime, ...] = ()
    if profile is not None:
        try:
            parse_report(profile_log or "")
            breakdown = kernels_from_profile(profile, median_ms=stats.median)
        except CutOffError as error:
            warnings.append(f"no breakdown: {error.message}")
    return RunResult(report, stats, samples, breakdown, tuple(warnings))


def _warnings(report: TrtexecReport, stats: LatencyStats) -> list[str]:
    warnings = []
    if stats.cv > _UNSTABLE_CV:
        warnings.append(f"unstable: cv {stats.cv:.1%} is above {_UNSTABLE_CV:.1%}; pin the clocks")
    if report.enqueue and report.compute and report.enqueue.median > _ENQUEUE_BOUND * report.compute.median:
        warnings.append("launch-bound: the CPU needs about as long to launch the kernels as the GPU to run them")
    return warnings
