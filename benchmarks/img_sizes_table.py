"""The table of image sizes from what was kept of each net per image: means with intervals, and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.proportion import wilson_interval

Floats = npt.NDArray[np.float64]
Cell = dict[str, Any]
FREE, PINNED = "sizes free", "size pinned"
WAYS = (PINNED, FREE)
UNCUT = "uncut base"
SPLITS = ("search", "test")
DIFFERENCE = "free less pinned"
POOLED = "all"


@dataclass(frozen=True)
class PerImage:
    """What a net gave on some images.

    Args:
        kl: (N,) KL in nats of the base at its own size from the net.
        is_right: (N,) whether its largest logit is the label.
    """

    kl: Floats
    is_right: npt.NDArray[np.bool_]

    def to_json(self) -> dict[str, Any]:
        """Render it: KL to a millionth, answers as ones and zeros."""
        answers = "".join("1" if right else "0" for right in self.is_right)
        return {"kl": [round(float(value), 6) for value in self.kl], "right": answers}


def per_image(found: Mapping[str, Any]) -> PerImage:
    """Read what ``PerImage.to_json`` wrote."""
    return PerImage(np.array(found["kl"], np.float64), np.array([answer == "1" for answer in found["right"]]))


def table_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Make the table: each net of each task and seed, their paired difference, and that of all tasks together.

    Args:
        cells: With ``task``, ``seed``, ``row``, ``img_size``, ``budget_ms``, ``measured_ms``, and ``search`` and
            ``test`` as ``PerImage``; a search that found nothing has None for all three.
    """
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[Cell, Cell]] = []
    for task, seed in dict.fromkeys((cell["task"], cell["seed"]) for cell in cells):
        mine = [cell for cell in cells if (cell["task"], cell["seed"]) == (task, seed)]
        rows += [_row(cell) for cell in mine]
        free, pinned = (next((c for c in mine if c["row"] == way and c["test"]), None) for way in (FREE, PINNED))
        if free is not None and pinned is not None:
            pairs.append((free, pinned))
            rows.append({"task": task, "seed": seed, "row": DIFFERENCE} | _differences([(free, pinned)]))
    if len(pairs) > 1:
        rows.append({"task": POOLED, "row": DIFFERENCE} | _differences(pairs))
    return rows


def _row(cell: Cell) -> dict[str, Any]:
    told = {name: cell[name] for name in ("task", "seed", "row", "img_size", "budget_ms")}
    told["measured_ms"] = cell["measured_ms"] and round(cell["measured_ms"], 3)
    for split in SPLITS if cell["test"] else ():
        found = per_image(cell[split])
        count = len(found.kl)
        hits = int(found.is_right.sum())
        told |= _figure(f"kl_{split}", float(found.kl.mean()), bootstrap_interval(found.kl))
        told |= _figure(f"top1_{split}", hits / count, wilson_interval(hits, count)) | {f"num_{split}": count}
    return told


def _differences(pairs: Sequence[tuple[Cell, Cell]]) -> dict[str, Any]:
    """Bootstrap the mean difference of the first to the second of each pair over the images of all."""
    told: dict[str, Any] = {}
    for split in SPLITS:
        both = [(per_image(one[split]), per_image(other[split])) for one, other in pairs]
        kl = np.concatenate([one.kl - other.kl for one, other in both])
        right = np.concatenate([one.is_right.astype(float) - other.is_right for one, other in both])
        told |= _figure(f"kl_{split}", float(kl.mean()), bootstrap_interval(kl))
        told |= _figure(f"top1_{split}", float(right.mean()), bootstrap_interval(right)) | {f"num_{split}": len(kl)}
    return told


def _figure(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    """Name a figure with the ends of its 95 % interval."""
    return {name: round(value, 4), f"{name}_low": round(interval[0], 4), f"{name}_high": round(interval[1], 4)}
