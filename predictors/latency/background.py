"""Find out whether launches limit a device, and the work that hides them."""

from dataclasses import dataclass, replace

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.latency.table.chain import CHAIN_LENGTHS, frame_of
from nuwa_search.latency.table.timer import ArchTimer
from nuwa_search.predictors.latency.unit_times import Branch

# The background must outlast the launches of the longest chain behind it, with this much to spare.
_MARGIN = 1.25
# A small chain that takes this much longer alone than behind other work was waiting for launches.
_LAUNCH_SHARE = 0.15
_MAX_WIDTH_FACTOR = 512


@dataclass(frozen=True)
class Background:
    """What keeps the device busy while the launches of a branch are timed.

    Args:
        blocks: Background per kind of branch; a branch that launches do not limit is not in it.
    """

    blocks: dict[Branch, BlockSpec]


def find_background(timer: ArchTimer, *, base: Arch, smallest: BlockSpec, relative_sd: float) -> Background:
    """Probe the device with the smallest branches, alone and behind a wide MLP.

    Args:
        timer: Measures archs.
        base: Gives context and the widest branches.
        smallest: Widths of the smallest branches.
        relative_sd: Standard error of one measurement relative to its value.
    """
    frame = frame_of(base)
    length = CHAIN_LENGTHS[-1]
    found: dict[Branch, BlockSpec] = {}
    tries: tuple[tuple[Branch, BlockSpec], ...] = (
        ("attn", replace(smallest, mlp_width=0)),
        ("mlp", BlockSpec(0, 0, 0, smallest.mlp_width)),
    )
    for branch, unit in tries:
        alone = _ms(timer, frame, (unit,) * length)
        first = _ms(timer, frame, ())
        width = base.embed_dim * 4
        while _ms(timer, frame, (BlockSpec(0, 0, 0, width),)) < _MARGIN * alone:
            width *= 2
            if width > _MAX_WIDTH_FACTOR * base.embed_dim:
                break
        behind = BlockSpec(0, 0, 0, width)
        busy_ms = _ms(timer, frame, (behind, *(unit,) * length)) - _ms(timer, frame, (behind,))
        alone_ms = alone - first
        noise_ms = 3 * relative_sd * (alone + 2 * busy_ms)
        if alone_ms - busy_ms > max(_LAUNCH_SHARE * alone_ms, noise_ms):
            found[branch] = behind
    return Background(found)


def _ms(timer: ArchTimer, frame: Arch, blocks: tuple[BlockSpec, ...]) -> float:
    return timer.measure(replace(frame, blocks=blocks), role="probe").latency_ms.median
