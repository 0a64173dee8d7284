"""The file `trtexec --exportTimes` writes: one object per inference."""

from array import array
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nuwa_search.core import checked
from nuwa_search.core.device import LatencyStats
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.stats import stats_from_samples
from nuwa_search.core.measuring.sustained import SustainedBin
from nuwa_search.deploy.tensorrt.json_stream import list_entries
from nuwa_search.deploy.tensorrt.log_source import LogSource
from nuwa_search.deploy.tensorrt.report import CutOffError, Summary, TrtexecReport

# Both files print six significant digits of a 32-bit float: two printed values of one time agree to
# this, relative to the larger.
_PRINTED = 2e-5
_MAX_INFERENCES = 5_000_000  # more than an hour of inferences of 1 ms: 120 MB of what is kept of each
_MAX_MS = 1e12  # thirty years: a time beyond it is no time, and squares of it are still finite
_NAMES = ("startComputeMs", "endComputeMs", "computeMs", "latencyMs")


def stats_from_times(source: LogSource, *, report: TrtexecReport, transfers: bool) -> tuple[LatencyStats, int]:
    """Make the statistics of the counted inferences; three numbers of each are held in memory.

    Releases 8.0 to 8.4 write the warm-up inferences as well; the report of the same run says how
    many, and its medians must come out again.

    Args:
        source: Content of the file, or the file.
        report: Report of the same run.
        transfers: Whether copies to and from the GPU are part of the latency.

    Returns:
        Statistics over, and number of, the counted inferences.

    Raises:
        CutOffError: If the file is not whole, or contradicts itself or the report.
    """
    if report.latency is None or report.compute is None:
        raise CutOffError("the report of the run holds no timing")
    _, compute, latency = _read(source)
    if len(compute) == report.num_warmup + report.num_timed:
        compute, latency = compute[report.num_warmup :], latency[report.num_warmup :]
    if len(compute) != report.num_timed or not len(compute):
        raise CutOffError(
            f"the times file holds {len(compute)} inferences; the report counts {report.num_timed} "
            f"after {report.num_warmup} of warm-up"
        )
    _check_summary(compute, report.compute, what="GPU compute time")
    _check_summary(latency, report.latency, what="latency")
    return trtexec_stats(latency if transfers else compute), len(compute)


def bins_from_times(
    source: LogSource, *, report: TrtexecReport, transfers: bool, seconds: float, num_bins: int
) -> tuple[SustainedBin, ...]:
    """Sum up a long run by time; bins in which no inference began are left out.

    Args:
        source: Content of the file, or the file.
        report: Report of the same run.
        transfers: Whether copies to and from the GPU are part of the latency.
        seconds: That were asked for; later inferences count into the last bin.
        num_bins: Bins of equal length.

    Raises:
        CutOffError: If the file is not whole, or contradicts itself or the report.
    """
    stats_from_times(source, report=report, transfers=transfers)  # log and file must be of one run
    columns = _read(source)
    values = (columns.latency if transfers else columns.compute)[-report.num_timed :]
    starts = columns.start[-report.num_timed :]
    places = np.minimum((starts - starts[0]) / (1000 * seconds) * num_bins, num_bins - 1).astype(int)
    bins = []
    for place in np.unique(places):
        stats = trtexec_stats(values[places == place])
        bins.append(SustainedBin(float(place) * seconds / num_bins, stats.median, stats.p95))
    return tuple(bins)


class _Columns(NamedTuple):
    """Start of the computation, compute time and latency of each row, (S,) in milliseconds."""

    start: np.ndarray
    compute: np.ndarray
    latency: np.ndarray


def trtexec_stats(samples_ms: np.ndarray) -> LatencyStats:
    """Make the statistics of samples (S,) in milliseconds; percentiles are trtexec's (``trtexec_rank``)."""
    ordered = np.sort(samples_ms)
    p90, p95, p99 = (float(ordered[trtexec_rank(p, num=len(ordered))]) for p in (90, 95, 99))
    return replace(stats_from_samples(samples_ms), p90=p90, p95=p95, p99=p99)


def trtexec_rank(percent: float, *, num: int) -> int:
    """Choose which of ``num`` ascending samples is the percentile, as `trtexec` does.

    The rule of its report: leave out the largest ``int((1 - percent / 100) * num)`` and take the largest
    that stays; nothing is interpolated. It counts in 32-bit floats, and that shows: of 100 samples the
    99th percentile is the largest, because 1 - 0.99 is a little less than 0.01 there (findPercentile in
    NVIDIA's samples/common/sampleReporting.cpp, unchanged from 8.0 to 11).
    """
    left_out = int((np.float32(1) - np.float32(percent) / np.float32(100)) * np.float32(num))
    return max(num - 1 - left_out, 0)


def _read(source: LogSource) -> _Columns:
    """Read all rows, each checked alone and in order."""
    start, compute, latency = array("d"), array("d"), array("d")
    try:
        for entry in list_entries(source, what="the times file", max_entries=_MAX_INFERENCES):
            row = _row(entry)
            _check_row(row)
            if start and row["startComputeMs"] < start[-1]:
                raise CutOffError("the times file is out of order")
            start.append(row["startComputeMs"])
            compute.append(row["computeMs"])
            latency.append(row["latencyMs"])
    except CutOffError:
        raise
    except NuwaError as error:
        raise CutOffError(f"the times file is not whole: {error.message}") from error
    return _Columns(*(np.frombuffer(column) if column else np.empty(0) for column in (start, compute, latency)))


def _row(values: object) -> dict[str, float]:
    found = checked.mapping(values, "an inference")
    return {name: checked.finite(found.get(name), f"{name} of an inference", low=0, high=_MAX_MS) for name in _NAMES}


def _check_row(row: dict[str, float]) -> None:
    compute, latency = row["computeMs"], row["latencyMs"]
    if not 0 < compute <= latency * (1 + _PRINTED):
        raise CutOffError(f"the times file holds a compute time of {compute} ms within a latency of {latency} ms")
    span = row["endComputeMs"] - row["startComputeMs"]
    if abs(span - compute) > _PRINTED * max(row["endComputeMs"], compute):
        raise CutOffError(f"the times file holds a compute time of {compute} ms between events {span} ms apart")


def _check_summary(samples_ms: np.ndarray, summary: Summary, *, what: str) -> None:
    pairs = (
        ("median", float(np.median(samples_ms)), summary.median),
        ("mean", float(samples_ms.mean()), summary.mean),
        ("max", float(samples_ms.max()), summary.max),
    )
    for name, ours, theirs in pairs:
        # A float32 running sum over thousands of inferences loses more digits than printing does.
        tolerance = 1e-3 if name == "mean" else _PRINTED
        if abs(ours - theirs) > tolerance * max(ours, theirs):
            raise CutOffError(
                f"the {name} of the {what} is {ours:.6g} ms by the times file, {theirs:.6g} by the report"
            )
    ordered = np.sort(samples_ms)
    for percent, theirs in summary.percentiles:
        # Rounding may move the rank by one on another processor; two ranks off is another run.
        rank = trtexec_rank(percent, num=len(ordered))
        low, high = float(ordered[max(rank - 1, 0)]), float(ordered[min(rank + 1, len(ordered) - 1)])
        if not low * (1 - _PRINTED) <= theirs <= high * (1 + _PRINTED):
            raise CutOffError(
                f"the {percent:g} % percentile of the {what} is {ordered[rank]:.6g} ms by the times file, "
                f"{theirs:.6g} by the report"
            )
