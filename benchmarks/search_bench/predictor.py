"""The accuracy predictor's report card on subnets that the grid's methods really scored."""

import json
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.search_bench.setting import Places, TaskSetting, open_task
from benchmarks.search_bench.tables import Row, versions
from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.predictors.accuracy import KLPredictor, prior_from_library, report_card

Floats = npt.NDArray[np.float64]

FITTED = (0, 20, 40, 80, 160)
"""Whole subnets that the predictor has seen; 0 is the library alone."""
MIN_HELD_OUT = 40
NUM_DRAWS = 5
"""Random choices of what is held out; figures are their means."""


def predictor_table(places: Places, *, tasks: Sequence[str]) -> list[Row]:
    """Fit to some of the scored subnets of a task, predict the others: rank correlation and coverage."""
    rows: list[Row] = []
    for name in tasks:
        folder = places.cache / "scores" / name
        if not folder.exists():
            continue
        task = open_task(places, name)
        kls: dict[Arch, float] = {}
        for path in sorted(folder.glob("*.json")):
            kls |= {arch_from_dict(arch): kl for arch, _, kl in json.loads(path.read_text()) if kl is not None}
        counts = [count for count in FITTED if len(kls) >= count + MIN_HELD_OUT]
        for is_alive in (False, True):
            rows += [_row(task, list(kls), np.array(list(kls.values())), count, is_alive=is_alive) for count in counts]
    return rows


def _row(task: TaskSetting, archs: list[Arch], kls: Floats, count: int, *, is_alive: bool) -> Row:
    """Judge on all that were held out, or on those that still know something: KL below log of the classes."""
    prior = prior_from_library(task.space.base, task.library.archs, task.library.kls)
    limit = math.log(task.teacher.arch.num_classes) if is_alive else math.inf
    cards = []
    for draw in range(NUM_DRAWS if count else 1):
        order = np.random.default_rng(draw).permutation(len(archs))
        predictor = KLPredictor(prior)
        if count:
            predictor.fit([archs[k] for k in order[:count]], kls[order[:count]].tolist())
        held = [k for k in order[count:] if kls[k] < limit]
        cards.append(report_card(predictor, [archs[k] for k in held], kls[held].tolist(), num_fitted=count))
    return {
        "task": task.name,
        "held_out_kl": f"below {limit:.3f}" if is_alive else "any",
        "fitted": count,
        "held_out": cards[0].num_heldout,
        "draws": len(cards),
        "kendall_tau": round(float(np.mean([card.kendall_tau for card in cards])), 3),
        "kendall_tau_least": round(min(card.kendall_tau for card in cards), 3),
        "spearman": round(float(np.mean([card.spearman for card in cards])), 3),
        "interval_coverage": round(float(np.mean([card.interval_coverage for card in cards])), 3),
        "nominal_coverage": cards[0].nominal_coverage,
        "median_log_error": round(float(np.mean([card.median_log_error for card in cards])), 3),
        "library_rows": len(task.library.rows),
        "versions": versions(),
    }
