"""The table of rivals: mIoU on the test images, and the paired difference of ours to each, pooled over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.map_rivals.cells import Cell
from benchmarks.map_rivals.methods import METHODS, OURS
from benchmarks.segmentation import mious
from nuwa_search.core.tasks.pixel_scores import RESAMPLES, TAIL, PixelScores

Row = Mapping[str, object]


def table_of(cells: Sequence[Cell]) -> list[Row]:
    """Make a row for every cell, and one for every rival over all seeds that it shares with ours."""
    known = {(cell.method, cell.seed): cell for cell in cells}
    rows: list[Row] = []
    for method in METHODS:
        mine = sorted((cell for cell in cells if cell.method == method), key=lambda cell: cell.seed)
        rows += [_row([cell], known) for cell in mine]
        if len(mine) > 1:
            rows.append(_row(mine, known))
    return rows


def _row(cells: Sequence[Cell], known: Mapping[tuple[str, int], Cell]) -> Row:
    one = cells[0]
    own = [known[OURS, cell.seed] for cell in cells if (OURS, cell.seed) in known]
    row: dict[str, object] = {
        "method": one.method,
        "seeds": " ".join(str(cell.seed) for cell in cells),
        "which": one.note if len(cells) == 1 else "",
        "latency_ms": float(np.mean([cell.latency_ms for cell in cells])),
        "provenance": "emulated",
        "million_params": float(np.mean([cell.params for cell in cells])) / 1e6,
        "nets_scored": float(np.mean([cell.num_scored for cell in cells])),
        "tuning_steps": one.steps,
        "miou_untuned": float(np.mean([cell.untuned.miou for cell in cells])),
        "miou": float(np.mean([cell.tuned.miou for cell in cells])),
        "cpu_s": sum(cell.cut_cpu_s + cell.tune_cpu_s for cell in cells),
    }
    if one.method != OURS and len(own) == len(cells):
        row |= paired([cell.tuned for cell in own], [cell.tuned for cell in cells])
    return row


def paired(ours: Sequence[PixelScores], rivals: Sequence[PixelScores]) -> dict[str, object]:
    """Bootstrap the difference of seeds' mean mIoU over images, which all nets see alike: figures in points.

    ``verdict`` says ``above`` or ``below`` where the 95 % interval excludes 0, else ``equal``.
    """
    num_images = ours[0].num_images
    rng = np.random.default_rng(0)
    draws = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=RESAMPLES)
    mine, theirs = (np.mean([mious(one, draws) for one in nets], axis=0) for nets in (ours, rivals))
    low, high = np.quantile(mine - theirs, [TAIL, 1 - TAIL])
    gained = float(np.mean([one.miou for one in ours]) - np.mean([one.miou for one in rivals]))
    verdict = "above" if low > 0 else "below" if high < 0 else "equal"
    return {
        "ours_ahead_points": 100 * gained,
        "low_points": 100 * float(low),
        "high_points": 100 * float(high),
        "num_images": num_images,
        "verdict": verdict,
    }


def ranks(cells: Sequence[Cell]) -> list[str]:
    """Say who came first on average, over the seeds that every method has."""
    by_seed: dict[int, dict[str, float]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, {})[cell.method] = cell.tuned.miou
    whole = [group for group in by_seed.values() if len(group) == len(METHODS)]
    if not whole:
        return []
    means = {name: float(np.mean([group[name] for group in whole])) for name in METHODS}
    ordered = sorted(means, key=lambda name: -means[name])
    return [f"mean mIoU over {len(whole)} seeds:", *(f"  {100 * means[name]:.1f} % {name}" for name in ordered)]
