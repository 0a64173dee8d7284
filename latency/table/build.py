"""Measure the rows that a latency table lacks, one by one."""

from collections.abc import Iterable

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Measurement, Provenance
from nuwa_search.latency.table.chain import chain_for, slope
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.timer import ArchTimer, Notebook
from nuwa_search.latency.table.unit import UnitKey
from nuwa_search.latency.table.watch import Watch


def measure_row(
    key: UnitKey, *, timer: ArchTimer, frame: Arch, relative_sd: float, background: BlockSpec | None = None
) -> TableRow:
    """Measure the chains of one unit and take the slope.

    Args:
        key: The unit.
        timer: Measures archs; chains it knows already are not measured again.
        frame: A net without blocks, giving tokens and classes.
        relative_sd: Standard error of one measurement relative to its value.
        background: Block that keeps the device busy, for rows in busy company.

    Raises:
        NuwaError: If the runtime cannot take the chain.
        OutsideError: If the device failed; nothing is kept of this row.
    """
    chain = chain_for(key, frame=frame, background=background)
    found = [timer.measure(arch) for arch in chain.archs]
    medians = [m.latency_ms.median for m in found]
    latency_ms, sd_ms = slope(chain.lengths, medians, relative_sd=relative_sd)
    stats = {
        "sd_ms": sd_ms,
        "chain_lengths": list(chain.lengths),
        "chain_ms": medians,
        "samples": [m.samples for m in found],
        "cv": [m.latency_ms.cv for m in found],
        "warnings": sorted({w for m in found for w in m.warnings}),
    }
    if background is not None:
        stats["background"] = [background.num_heads, background.qk_dim, background.v_dim, background.mlp_width]
    peaks = [m.peak_memory_mb for m in found if m.peak_memory_mb is not None]
    if peaks:
        stats["peak_memory_mb"] = max(peaks)
    return TableRow(key, latency_ms, _provenance(found), stats)


def measure_rows(
    keys: Iterable[UnitKey],
    *,
    timer: ArchTimer,
    notebook: Notebook,
    frame: Arch,
    relative_sd: float,
    background: BlockSpec | None = None,
    watch: Watch | None = None,
) -> list[TableRow]:
    """Measure the rows that ``notebook`` lacks, in the order given, and keep each at once.

    A run that is killed loses at most the row it was at; the next run starts there.

    Args:
        keys: Units in the order of their use.
        timer: Measures archs.
        notebook: What is known, and where new rows go.
        frame: A net without blocks.
        relative_sd: Standard error of one measurement relative to its value.
        background: See ``measure_row``.
        watch: Who is told, and when no further row is begun; None for nobody and never.

    Returns:
        The new rows.
    """
    have = {row.key for row in notebook.rows()}
    wanted = [key for key in dict.fromkeys(keys) if key not in have]
    added: list[TableRow] = []
    watch = watch or Watch()
    ahead = 0
    for index, key in enumerate(wanted):
        if watch.is_over:
            break
        if index >= ahead:  # on a pool: the chains of as many rows as it has boards, at the same time
            ahead = index + timer.num_at_once
            chains = [chain_for(one, frame=frame, background=background) for one in wanted[index:ahead]]
            timer.measure_ahead(arch for chain in chains for arch in chain.archs)
        row = measure_row(key, timer=timer, frame=frame, relative_sd=relative_sd, background=background)
        notebook.add_row(row)
        added.append(row)
        watch.tell("latency table", index + 1, len(wanted))
    return added


def _provenance(found: list[Measurement]) -> Provenance:
    return found[0].provenance
