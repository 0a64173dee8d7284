"""The table of winners: this build's, the old build's and the base on the same test images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.old_tree import COMMIT
from benchmarks.real_size.cells import OF_NOW, OF_WINNERS, OLD_WHOLE, Cell, find_cell, runs_of
from benchmarks.real_size.jobs import JOBS
from benchmarks.real_size.winner import BASE, DERIVED, SHIPPED, bits_of
from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.source_name import DEMO_BASE

PROTOCOL = (
    "FP32 on the test images, emulated Jetson Nano, both by the code of now; differences in points, 95 % paired "
    "bootstrap; pooled: an image counts once, with its mean over seeds; KL in nats, pooled the mean over searches"
)
Bits = npt.NDArray[np.float64]
Winner = Cell


def winner_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """Make a row for each search whose winner was judged, one for those of the real base, and one for all."""
    judged: list[tuple[str, int, Winner, Winner]] = []
    for job, seed in runs_of(cells, OF_NOW):
        new = find_cell(cells, OF_WINNERS, job, seed, holding="winner").get("winner")
        old = find_cell(cells, (OLD_WHOLE,), job, seed, holding="winner").get("winner", {})
        if new:
            require_same_images(new, old, what=f"{job}, seed {seed}")
            judged.append((job, seed, new, old))
    rows = [_row(job, str(seed), [(job, new, old)]) for job, seed, new, old in judged]
    for name, among in (("pooled, real base", [k for k in JOBS if JOBS[k].base == DEMO_BASE]), ("pooled", list(JOBS))):
        pairs = [(job, new, old) for job, _, new, old in judged if job in among]
        compared = [pair for pair in pairs if pair[2]]
        if pairs:
            rows.append(_row(name, "", pairs))
        if compared and len(compared) < len(pairs):
            rows.append(_row(f"{name}, searches of both builds", "", compared))
    return rows


def require_same_images(new: Winner, old: Winner, *, what: str) -> None:
    """Refuse to compare builds that did not see the same images.

    Raises:
        ValueError: If a split is another; a build that was not run has none.
    """
    if old and new["splits"] != old["splits"]:
        raise ValueError(f"{what}: the builds saw other images, {new['splits']} and {old['splits']}")


def _row(job: str, seed: str, pairs: Sequence[tuple[str, Winner, Winner]]) -> dict[str, object]:
    """Describe one search, or several pooled; the old build's figures stand where every one of them has them."""
    news, olds = [new for _, new, _ in pairs], [old for _, _, old in pairs]
    has_old = all(olds)
    row: dict[str, object] = {"job": job, "seed": seed, "searches": len(pairs)}
    row["images"] = len(_by_image([(job, new, new) for job, new, _ in pairs], SHIPPED, BASE))
    for name, winners, net in (("now", news, SHIPPED), (COMMIT, olds, SHIPPED), ("base now", news, BASE)):
        row[f"top1 {name}"] = _top1(winners, net) if all(winners) else ""
    row[f"top1 base {COMMIT}"] = _top1(olds, BASE) if has_old else ""
    against_base = _by_image([(job, new, new) for job, new, _ in pairs], SHIPPED, BASE)
    row |= _difference("now - base", against_base)
    row |= _difference(f"now - {COMMIT}", _by_image(pairs, SHIPPED, SHIPPED) if has_old else None)
    for name, winners in (("now", news), (COMMIT, olds)):
        row |= _kls(name, winners) | _latency(name, winners)
    heads = {new["head reads"] == old["head reads"] for _, new, old in pairs if old}
    row["one head for both"] = "" if not heads else "yes" if heads == {True} else "no"
    return row | {"protocol": PROTOCOL}


def _by_image(pairs: Sequence[tuple[str, Winner, Winner]], ours: str, theirs: str) -> Bits:
    """Return one difference per test image: its mean over the searches whose test split is the same."""
    found: dict[tuple[str, str], list[Bits]] = {}
    for job, new, old in pairs:
        difference = bits_of(new["right"][ours], new["images"]) - bits_of(old["right"][theirs], old["images"])
        found.setdefault((job, new["splits"]["test"]), []).append(difference)
    return np.concatenate([np.mean(seeds, axis=0) for seeds in found.values()])


def _difference(name: str, differences: Bits | None) -> dict[str, object]:
    """Say a mean difference (N,) of shares in points, with its interval."""
    columns = (name, f"{name} low", f"{name} high")
    if differences is None:
        return dict.fromkeys(columns, "")
    values = (float(differences.mean()), *bootstrap_interval(differences))
    return {column: round(100 * value, 2) for column, value in zip(columns, values, strict=True)}


def _top1(winners: Sequence[Winner], net: str) -> float:
    return round(100 * float(np.mean([bits_of(w["right"][net], w["images"]).mean() for w in winners])), 2)


def _kls(name: str, winners: Sequence[Winner]) -> dict[str, object]:
    """Say the KL to each winner's own base on the test images, before and after fine-tuning."""
    told = {"before": DERIVED, "after": SHIPPED}
    return {
        f"KL {when} fine-tuning {name}": round(float(np.mean([w["kl"][net] for w in winners])), 4)
        if all(winners)
        else ""
        for when, net in told.items()
    }


def _latency(name: str, winners: Sequence[Winner]) -> dict[str, object]:
    """Say what the slowest winner was measured to take, and how many of them keep their budget."""
    columns = (f"latency ms {name}, the slowest", f"within the budget {name}")
    if not all(winners):
        return dict.fromkeys(columns, "")
    met = sum(w["latency_ms"] <= w["budget_ms"] for w in winners)
    values = (round(max(w["latency_ms"] for w in winners), 3), f"{met} of {len(winners)}")
    return dict(zip(columns, values, strict=True))
