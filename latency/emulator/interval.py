"""Where a real board is expected around an emulated latency."""

import math
from collections.abc import Mapping

from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.constants import Calibration
from nuwa_search.latency.emulator.kernels import KERNEL_GROUPS, KernelGroup, kernel_group
from nuwa_search.latency.emulator.timeline import Timeline

_WORDS: Mapping[KernelGroup, str] = {
    "convolutions": "convolutions",
    "depthwise": "depthwise convolutions",
    "products": "matrix products",
    "streams": "kernels that move memory",
}

# A tenth of the time more than in any row is no other kind of model; plain ViTs on the Nano are beyond it.
SEEN_MARGIN = 0.1
# Share of the time from which a figure hangs on a group.
MOST = 0.5


def group_shares(timeline: Timeline) -> dict[KernelGroup, float]:
    """Split the latency over kernel groups, as fractions; copies to and from the board count as streams."""
    totals = dict.fromkeys(KERNEL_GROUPS, 0.0)
    for kernel in timeline.kernels:
        totals[kernel_group(kernel.kind)] += kernel.ms
    return {group: ms / timeline.total_ms if timeline.total_ms else 0.0 for group, ms in totals.items()}


def extrapolated_groups(timeline: Timeline, board: Board, calibration: Calibration) -> dict[KernelGroup, float]:
    """Name the kernel groups that take clearly more of the time than in any row of this board, with their share."""
    seen = calibration.seen_shares(board)
    return {g: share for g, share in group_shares(timeline).items() if share > seen[g] + SEEN_MARGIN}


def log_halfwidth(timeline: Timeline, board: Board, calibration: Calibration) -> float:
    """Half-width of the board interval in the logarithm of the latency.

    Known kernels keep the error of rows left out of the fit. What extrapolations to a kernel group have been off
    comes on top of it, as an error of its own: in full where the group holds half of the time or more.
    """
    fit = calibration.fits[board.constants]
    known = fit.log_halfwidth if board.log_halfwidth is None else max(fit.log_halfwidth, board.log_halfwidth)
    worst = calibration.carried if board.is_carried else fit.extrapolated
    added = (
        min(1.0, share / MOST) * worst[group]
        for group, share in extrapolated_groups(timeline, board, calibration).items()
    )
    return math.hypot(known, max(added, default=0.0))


def extrapolation_warnings(timeline: Timeline, board: Board, calibration: Calibration) -> tuple[str, ...]:
    """Return warnings about groups with most of the time although no measured row of this board has as much there."""
    seen = calibration.seen_shares(board)
    return tuple(
        f"{share:.0%} of the time is in {_WORDS[group]}, at most {seen[group]:.0%} in any model measured on a real "
        f"{board.family}: this figure is an extrapolation, and its board interval is wider for it"
        for group, share in extrapolated_groups(timeline, board, calibration).items()
        if share >= MOST
    )
