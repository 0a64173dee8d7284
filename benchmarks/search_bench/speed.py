"""How long a study takes that scores 200 subnets, everything in it counted."""

import os
import time

import torch

from benchmarks.search_bench.setting import Places, open_bench_device, open_task
from benchmarks.search_bench.tables import Row, versions
from nuwa_search.search.feasible import Limits
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.run import run_study
from nuwa_search.search.trials import StudyConfig

TRIALS = 200


def speed_table(places: Places, *, device_name: str, task_name: str, share: float) -> list[Row]:
    """Time one study: proposing, predicting, deriving and scoring; statistics and library are there before."""
    task = open_task(places, task_name)
    task.deriver.prepare()
    device = open_bench_device(places, device_name, task.teacher.arch.num_classes)
    load_before = os.getloadavg()[0]
    wall, cpu = time.perf_counter(), time.process_time()
    result = run_study(
        task.space,
        deriver=task.deriver,
        scorer=task.scorer,
        limits=Limits(device.predictor, share * device.base_ms),
        config=StudyConfig(trials=TRIALS),
        guidance=Guidance(task.library),
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    evaluating = sum(t.seconds for t in result.trials)
    return [
        {
            "task": task_name,
            "budget_share": share,
            "scored": result.num_evaluations,
            "seconds": round(wall, 1),
            "cpu_seconds": round(cpu, 1),
            "deriving_and_scoring_seconds": round(evaluating, 1),
            "library_rows": len(task.library.rows),
            "library_seconds": round(task.library_seconds, 1),
            "statistics_seconds": round(task.deriver.prepare_seconds, 1),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "load_before": round(load_before, 1),
            "load_after": round(os.getloadavg()[0], 1),
            "versions": versions(),
        }
    ]
