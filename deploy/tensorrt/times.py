"""The file `trtexec --exportTimes` writes: one object per inference."""

import json
import math
from typing import Any

import numpy as np

from nuwa_search.core.device import LatencyStats
from nuwa_search.core.measuring.stats import stats_from_samples
from nuwa_search.deploy.tensorrt.report import CutOffError, Summary, TrtexecReport

# Both files print six significant digits of a 32-bit float: two printed values of one time agree to
# this, relative to the larger.
_PRINTED = 2e-5


def stats_from_times(text: str, *, report: TrtexecReport, transfers: bool) -> tuple[LatencyStats, int]:
    """Make the statistics of the counted inferences.

    Releases 8.0 to 8.4 write the warm-up inferences as well; the report of the same run says how
    many, and its medians must come out again.

    Args:
        text: Content of the file.
        report: Report of the same run.
        transfers: Whether copies to and from the GPU are part of the latency.

    Returns:
        Statistics over, and number of, the counted inferences.

    Raises:
        CutOffError: If the file is not whole, or contradicts itself or the report.
    """
    if report.latency is None or report.compute is None:
        raise CutOffError("the report of the run holds no timing")
    rows = _rows(text)
    if len(rows) == report.num_warmup + report.num_timed:
        rows = rows[report.num_warmup :]
    if len(rows) != report.num_timed or not rows:
        raise CutOffError(
            f"the times file holds {len(rows)} inferences; the report counts {report.num_timed} "
            f"after {report.num_warmup} of warm-up"
        )
    compute = np.array([row["computeMs"] for row in rows])
    latency = np.array([row["latencyMs"] for row in rows])
    _check_summary(compute, report.compute, what="GPU compute time")
    _check_summary(latency, report.latency, what="latency")
    return stats_from_samples(latency if transfers else compute), len(rows)


def _rows(text: str) -> list[dict[str, float]]:
    try:
        rows = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise CutOffError(f"the times file is not whole JSON: {error}") from error
    if not isinstance(rows, list):
        raise CutOffError("the times file is not a list of inferences")
    previous = -math.inf
    for row in rows:
        _check_row(row)
        if row["startComputeMs"] < previous:
            raise CutOffError("the times file is out of order")
        previous = row["startComputeMs"]
    return rows


def _check_row(row: Any) -> None:
    names = ("startComputeMs", "endComputeMs", "computeMs", "latencyMs")
    if not isinstance(row, dict) or not all(isinstance(row.get(name), int | float) for name in names):
        raise CutOffError("an inference in the times file lacks one of " + ", ".join(names))
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


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no time")
