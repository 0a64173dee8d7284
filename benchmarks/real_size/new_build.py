"""One whole search of this build, its CPU seconds by stage, as JSON on stdout.

Usage: python -m benchmarks.real_size.new_build JOB SHARED SEED PLACE [second]

With ``second``, after a whole one in the same place: another budget of the same task, with warm caches, up to
fine-tuning.
"""

import itertools
import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.real_size.jobs import JOBS
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.search import run_search
from nuwa_search.search.recording.records import optuna_url
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.study import stored_trials
from nuwa_search.store.store import open_store

STUDY, SECOND = "cell", "second"
OTHER_BUDGET = 1.1
"""Of the first search's."""


def main(name: str, shared: Path, seed: int, place: Path, *, is_second: bool = False) -> None:
    """Search and print what each stage took."""
    study = SECOND if is_second else STUDY
    job = JOBS[name]
    marks: list[tuple[str, float, float]] = []

    def mark(stage: str) -> None:
        marks.append((stage, time.monotonic(), time.process_time()))
        wall_s, cpu_s = marks[-1][1] - marks[0][1], marks[-1][2]
        print(f"{wall_s:8.1f} s, {cpu_s:8.1f} s of CPU  {stage}", file=sys.stderr, flush=True)

    def say(text: str) -> None:
        print(f"            {text}", file=sys.stderr, flush=True)

    mark("start")
    request = SearchRequest(
        budget_ms=job.budget_ms * (OTHER_BUDGET if is_second else 1.0),
        base=job.base,
        data=job.data_in(shared),
        classes=job.classes,
        seed=seed,
        finetune=not is_second,
        deploy=not is_second,
        bundle_dir=str(place / f"bundle-{study}"),
    )
    store = open_store(str(place / "nuwa.sqlite"))
    hooks = Hooks(stage=mark, step=say)
    found = run_search(request, store=store, study=study, resume=False, cache_dir=place / "cache", hooks=hooks)
    mark("end")
    wall: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for (stage, *begun), (_, *ended) in itertools.pairwise(marks):
        wall[stage] = round(wall.get(stage, 0.0) + ended[0] - begun[0], 1)
        cpu[stage] = round(cpu.get(stage, 0.0) + ended[1] - begun[1], 1)
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = found.result.to_json()
    for name in ("artifacts", "lost_images"):  # paths and pictures of this machine
        answer.pop(name, None)
    for promise in answer["budgets"]:
        for name in ("dir", "certificate"):
            promise.pop(name, None)
    told = {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_memory_mb": round(memory_mb),
        "proposals": _proposals(optuna_url(store), study),
        "answer": answer,
    }
    json.dump(told, sys.stdout)
    store.close()


def _proposals(url: str, study: str) -> dict[str, float | int | None]:
    """Say how often the study's own proposals beat the best of those it was handed."""
    reports = [trial.report for trial in stored_trials(url, study) if trial.report["state"] == "scored"]
    handed = [report["kl"] for report in reports if report["origin"] in ("seed", "uniform", "random")]
    own = [report["kl"] for report in reports if report["origin"] in ("sampler", "neighbour")]
    best = min(handed, default=None)
    return {
        "handed": len(handed),
        "own": len(own),
        "own_better": 0 if best is None else sum(kl < best for kl in own),
        "best_handed_kl": best,
        "best_own_kl": min(own, default=None),
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), is_second=sys.argv[5:] == [SECOND])
