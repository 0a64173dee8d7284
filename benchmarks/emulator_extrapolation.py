"""How far the time model is off where it extrapolates: to kernels not seen, and to another architecture.

Every record holds rows that are rich in one kernel group, told by constants that were fitted without any such
row. ``calibration.json`` keeps the largest error of each group; board intervals widen by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.emulator_fit import Judged, Sample, fit_constants, judge, timeline_of
from nuwa_search.latency.emulator.boards import BOARDS, Board
from nuwa_search.latency.emulator.constants import Constants, Prior
from nuwa_search.latency.emulator.interval import group_shares
from nuwa_search.latency.emulator.kernels import KERNEL_GROUPS, KernelGroup

# A row is rich in a group that holds this much of its time: with less, an error says little about the group.
RICH = 0.25


@dataclass(frozen=True)
class Record:
    """One row told by extrapolation.

    Args:
        kind: What was carried where.
        group: Kernel group that was not seen.
        judged: The row beside what was said of it.
    """

    kind: str
    group: KernelGroup
    judged: Judged


def largest_shares(samples: Sequence[Sample], constants: Constants) -> dict[KernelGroup, float]:
    """Find, per kernel group, the largest share of the time in any sample."""
    shares = [group_shares(timeline_of(s, constants)) for s in samples]
    return {group: max(s[group] for s in shares) for group in KERNEL_GROUPS}


def leave_groups_out(
    samples: Sequence[Sample], priors: Mapping[str, Prior], constants: Constants, *, kind: str
) -> list[Record]:
    """Judge the samples rich in a kernel group by a fit that has none of them."""
    records = []
    for group in KERNEL_GROUPS:
        rich = [s for s in samples if group_shares(timeline_of(s, constants))[group] > RICH]
        others = [s for s in samples if s not in rich]
        if rich and others:
            judged = judge(rich, fit_constants(others, priors))
            records += [Record(kind, group, j) for j in judged]
    return records


def unlabelled_records(samples: Sequence[Sample], constants: Constants) -> list[Record]:
    """Judge rows without a power mode, as depthwise convolutions and streams: none with a mode is rich in these."""
    return [
        Record("no row of the group", group, j)
        for j in judge(samples, constants)
        for group in ("depthwise", "streams")
        if group_shares(timeline_of(j.sample, constants))[group] > RICH
    ]


def carry_to_ampere(samples: Sequence[Sample], maxwell: Constants) -> list[Record]:
    """Judge the Orin Nano's FP16 rows by the Nano's constants: what the first emulator said of them.

    Rows in FP32 with TF32 and in INT8 stay out: no board with carried constants emulates either.
    """
    return [
        Record("constants of another architecture", group, Judged(sample, timeline.total_ms))
        for sample in samples
        if sample.precision == "fp16"
        for timeline in [timeline_of(sample, maxwell, board=_as_carried(sample.board))]
        for group, share in group_shares(timeline).items()
        if share > RICH
    ]


# The first emulator took 320 multiply-adds per clock and multiprocessor for FP16 on the Orin Nano, set by hand against
# four convolutional nets whose power mode is not stated. Xavier NX still has the like.
_FIRST_GAIN = 320 / 1024


def _as_carried(board: Board) -> Board:
    """Take away what rows of this board told: its constants, and that kernels are fused as release notes say."""
    xavier = BOARDS["jetson-xavier-nx"]
    return replace(
        board,
        constants="maxwell",
        core_gain=xavier.core_gain,
        product_gain=_FIRST_GAIN,
        launch_scale=xavier.launch_scale,
        has_new_fusions=False,
    )


def worst_per_group(records: Sequence[Record], *others: Mapping[KernelGroup, float]) -> dict[KernelGroup, float]:
    """Take the largest error of each group in the logarithm, and of other tables where they are larger."""
    found = {
        group: max((abs(r.judged.log_ratio) for r in records if r.group == group), default=0.0)
        for group in KERNEL_GROUPS
    }
    return {group: max([value, *(other[group] for other in others)]) for group, value in found.items()}
