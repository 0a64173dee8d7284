"""Area under the front of latency and KL against scored subnets: ours, random search, NSGA-II without seeds."""

import json
import math
from collections.abc import Sequence

from benchmarks.search_bench.methods import scored_by, study_of, unaided_config
from benchmarks.search_bench.setting import DeviceSetting, Places, TaskSetting, open_bench_device, open_task
from benchmarks.search_bench.tables import FIFTH, Row, area_curve, versions
from nuwa_search.search.trials import StudyConfig

METHODS = ("ours", "random", "nsga2")
MARKS = (12, 24, 40, 60, 100, 150, 200, 300)
"""Scored subnets at which areas are written down."""

Curve = list[list[float | None]]


def front_table(
    places: Places, *, device_name: str, task_name: str, share: float, seeds: Sequence[int], trials: dict[str, int]
) -> list[Row]:
    """Let each method look for the whole front below a budget, without any distillation.

    Areas are in milliseconds times nats, up to the budget and to the KL that a net which knows nothing may have
    (log of the number of classes). ``with_library`` counts the library's rows as scored first.
    """
    task = open_task(places, task_name)
    device = open_bench_device(places, device_name, task.teacher.arch.num_classes)
    budget_ms = share * device.base_ms
    reference = (budget_ms, math.log(task.teacher.arch.num_classes))
    prefix = _library_curve(task, device)
    rows: list[Row] = []
    for seed in seeds:
        curves = {m: _curve(places, task, device, budget_ms, m, seed, trials[m]) for m in METHODS}
        areas = {m: area_curve(curve, reference=reference) for m, curve in curves.items()}
        areas["ours, with library"] = area_curve(prefix + curves["ours"], reference=reference)
        for method, found in areas.items():
            row: Row = {
                "device": device_name,
                "task": task_name,
                "budget_share": share,
                "seed": seed,
                "method": method,
                "scored": len(found),
            }
            row |= {f"area_after_{mark}": round(found[mark - 1], 4) if mark <= len(found) else "" for mark in MARKS}
            row["area_end"] = round(found[-1], 4)
            for other in ("random", "nsga2"):
                needed = next((k for k, area in enumerate(found, start=1) if area >= areas[other][-1]), None)
                row[f"needed_for_{other}_end"] = "never" if needed is None else needed
                is_within = needed is not None and FIFTH * needed <= len(areas[other])
                row[f"is_within_a_fifth_of_{other}"] = is_within
            rows.append(row | {"versions": versions()})
    return rows


def _library_curve(task: TaskSetting, device: DeviceSetting) -> Curve:
    times = device.predictor.predict(task.library.archs).value.tolist()
    return [[ms, kl] for ms, kl in zip(times, task.library.kls, strict=True)]


def _curve(
    places: Places, task: TaskSetting, device: DeviceSetting, budget_ms: float, method: str, seed: int, trials: int
) -> Curve:
    path = places.cache / "fronts" / f"{device.spec.name}-{task.name}-{budget_ms:.3f}-{method}-{seed}-{trials}.json"
    if not path.exists():
        is_ours = method == "ours"
        config = StudyConfig(trials=trials, seed=seed, pareto=True)
        if not is_ours:
            config = unaided_config(method, trials=trials, seed=seed, repair=method == "random", pareto=True)
        result = study_of(task, device, budget_ms, config, has_library=is_ours)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([[one.predicted_ms, one.kl] for one in scored_by(result)]))
    curve: Curve = json.loads(path.read_text())
    return curve
