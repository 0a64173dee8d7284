"""The file `trtexec --exportTimes` writes: one object per inference."""

import math

import numpy as np

from nuwa_search.core import checked
from nuwa_search.core.device import LatencyStats
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.measuring.stats import stats_from_samples
from nuwa_search.deploy.tensorrt.report import CutOffError, Summary, TrtexecReport

# Both files print six significant digits of a 32-bit float: two printed values of one time agree to
# this, relative to the larger.
_PRINTED = 2e-5
MAX_TIMES_BYTES = 16 * 2**20
"""Of the file: an inference takes about 300 bytes, and the protocol stops far below 50,000 of them."""
_MAX_MS = 1e12  # thirty years: a time beyond it is no time, and squares of it are still finite
_NAMES = ("startComputeMs", "endComputeMs", "computeMs", "latencyMs")


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
        found = json_from_text(text, what="the times file", max_bytes=MAX_TIMES_BYTES)
        rows = [_row(row) for row in checked.items(found, "the times file")]
    except NuwaError as error:
        raise CutOffError(f"the times file is not whole: {error.message}") from error
    previous = -math.inf
    for row in rows:
        _check_row(row)
        if row["startComputeMs"] < previous:
            raise CutOffError("the times file is out of order")
        previous = row["startComputeMs"]
    return rows


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
