"""How far the boards of a pool are from each other, by small reference nets that each of them runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.store.records import BoardRatio

if TYPE_CHECKING:
    import onnx

DRIFT_ROLE = "drift"
"""Role, in the state of a measurement, of those that boards are held against each other by."""
DRIFT_AGE_S = 24 * 3600.0
"""Figures older than that are taken anew: chosen, a day holds a room's heat and whatever was changed overnight."""
REPEATS = 3
_COVERAGE = 0.95

# Chosen to build within a minute on a Nano and yet to take milliseconds: launches weigh most in the first, arithmetic
# in the last, so that a board slow in either shows.
_BLOCKS = (
    (2, 64, BlockSpec(2, 32, 32, 128)),
    (4, 128, BlockSpec(4, 32, 32, 512)),
    (6, 256, BlockSpec(4, 64, 64, 1024)),
)


def reference_archs() -> tuple[Arch, ...]:
    """List the reference nets: 64 px images in patches of 8, 2, 4 and 6 blocks."""
    return tuple(
        Arch(blocks=(block,) * depth, embed_dim=dim, num_classes=10, img_size=64, patch_size=8)
        for depth, dim, block in _BLOCKS
    )


def reference_models(spec: DeviceSpec) -> "tuple[onnx.ModelProto, ...]":
    """Write the reference nets for a device."""
    return tuple(
        onnx_from_arch(
            arch,
            opset=spec.opset,
            precision=graph_precision(spec),
            batch=spec.batch,
            has_weights=spec.kind != "emulated",
        )
        for arch in reference_archs()
    )


def board_ratios(times_ms: Mapping[str, Sequence[Sequence[float]]]) -> list[BoardRatio]:
    """Hold boards against the median board of their pool.

    In logarithms: a board's place is the mean, over nets, of how far its mean time of a net is from the median over
    boards; its noise is what is left of each net beside that place, pooled over all boards, which holds repeats, builds
    and nets that suit one board better. Its interval is Student's, widened for the median's own noise (variance
    pi / 2 that of a mean, for many boards).

    Args:
        times_ms: By board, for each net in the same order its repeats in milliseconds.
    """
    if not times_ms:
        return []
    logs = {board: [statistics.fmean(map(math.log, net)) for net in nets] for board, nets in times_ms.items()}
    num_boards, num_nets = len(logs), len(next(iter(logs.values())))
    medians = [statistics.median(nets[k] for nets in logs.values()) for k in range(num_nets)]
    offsets = {board: [nets[k] - medians[k] for k in range(num_nets)] for board, nets in logs.items()}
    places = {board: statistics.fmean(found) for board, found in offsets.items()}
    freedom = num_boards * (num_nets - 1)
    if num_boards == 1 or freedom == 0:
        return [BoardRatio(board, math.exp(place), None) for board, place in places.items()]
    from scipy.special import stdtrit  # which most commands never need

    left = sum((one - places[board]) ** 2 for board, found in offsets.items() for one in found)
    error = math.sqrt(left / freedom / num_nets * (1 + math.pi / 2 / num_boards))
    half = float(stdtrit(freedom, (1 + _COVERAGE) / 2)) * error
    return [
        BoardRatio(board, math.exp(place), (math.exp(place - half), math.exp(place + half)))
        for board, place in places.items()
    ]


def corrected(found: Measurement, ratio: BoardRatio | None, *, pool: DeviceSpec, board: str) -> Measurement:
    """Tell a board's measurement as its pool's: divided by its ratio where that is above noise, and said either way.

    Args:
        found: As measured on the board.
        ratio: Of the board against its pool's median; None where it was not compared yet.
        pool: Of the board.
        board: Its name.
    """
    state = {**found.state, "board": board}
    if ratio is None:
        said = f"measured on {board}, which was not compared with the other boards of {pool.name} yet"
        return _as_of(found, pool, state, (said,))
    state["board_ratio"] = f"{ratio.ratio:.5f}"
    if ratio.interval is not None:
        state["board_ratio_low"], state["board_ratio_high"] = (f"{end:.5f}" for end in ratio.interval)
    if not ratio.is_off:
        return _as_of(found, pool, state, ())
    state["board_corrected"] = "yes"
    said = f"measured on {board}, {ratio_words(ratio)} the median board of {pool.name}: corrected for that"
    return _scaled(_as_of(found, pool, state, (said,)), 1 / ratio.ratio)


def ratio_words(ratio: BoardRatio) -> str:
    """Write a ratio with its interval, such as ``2.1 % (1.5 to 2.7) slower than``."""
    parts = [100 * (value - 1) for value in (ratio.ratio, *(ratio.interval or ()))]
    sign = 1 if parts[0] >= 0 else -1
    ends = sorted(sign * part for part in parts[1:])
    interval = f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else ""
    return f"{sign * parts[0]:.1f} %{interval} {'slower' if sign > 0 else 'faster'} than"


def _as_of(found: Measurement, pool: DeviceSpec, state: dict[str, str], said: tuple[str, ...]) -> Measurement:
    return replace(found, device=pool, state=state, warnings=(*found.warnings, *said))


def _scaled(found: Measurement, factor: float) -> Measurement:
    stats = {
        name: value if name == "cv" or value is None else value * factor
        for name, value in asdict(found.latency_ms).items()
    }
    interval = found.board_interval_ms
    return replace(
        found,
        latency_ms=LatencyStats(**stats),
        breakdown=tuple(replace(kernel, ms=kernel.ms * factor) for kernel in found.breakdown),
        board_interval_ms=None if interval is None else (interval[0] * factor, interval[1] * factor),
    )
