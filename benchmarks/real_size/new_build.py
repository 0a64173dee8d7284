"""One whole search of this build, its CPU seconds by stage, as JSON on stdout.

Usage: python -m benchmarks.real_size.new_build JOB SHARED SEED PLACE [--second]

With ``--second``, after a whole one in the same place: another budget of the same task, with warm caches, up to
fine-tuning. The first one's winner is judged on the test images when the clocks have stopped.
"""

import argparse
import contextlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.real_size.jobs import JOBS
from benchmarks.real_size.winner import BASE, DERIVED, SHIPPED, judge
from nuwa_search.core.pooling import HEAD_POOLS, HeadPool
from nuwa_search.core.tensors import split_tensors
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job import deliver
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.search import run_search
from nuwa_search.search.job.winner import Accuracies, Shipped, test_accuracies
from nuwa_search.search.recording.records import optuna_url
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.study import stored_trials
from nuwa_search.store.store import open_store

STUDY, SECOND = "cell", "second"
OTHER_BUDGET = 1.1
"""Of the first search's."""


def main(args: argparse.Namespace) -> None:
    """Search and print what each stage took."""
    is_second, place = args.second, args.place
    study = SECOND if is_second else STUDY
    job = JOBS[args.job]
    marks: list[tuple[str, float, float]] = []

    def mark(stage: str) -> None:
        marks.append((stage, time.monotonic(), time.process_time()))
        wall_s, cpu_s = marks[-1][1] - marks[0][1], marks[-1][2]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{wall_s:8.1f} s, {cpu_s:8.1f} s of CPU, {peak_mb:6.0f} MB  {stage}", file=sys.stderr, flush=True)

    def say(text: str) -> None:
        print(f"            {text}", file=sys.stderr, flush=True)

    mark("start")
    request = SearchRequest(
        budget_ms=job.budget_ms * (OTHER_BUDGET if is_second else 1.0),
        base=job.base,
        data=job.data_in(args.shared),
        classes=job.classes,
        pool=args.pool,
        trials=args.trials,
        finetune_steps=args.finetune_steps,
        seed=args.seed,
        finetune=not is_second,
        deploy=not is_second,
        bundle_dir=str(place / f"bundle-{study}"),
    )
    store = open_store(str(place / "nuwa.sqlite"))
    hooks = Hooks(stage=mark, step=say)
    with seen_winners() as winners:
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
    told: dict[str, Any] = {
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_memory_mb": round(memory_mb),
        "proposals": _proposals(optuna_url(store), study),
        "answer": answer,
    }
    store.close()
    if winners and not is_second:
        told["winner"] = judged(*winners[-1], budget_ms=job.budget_ms, seed=args.seed)
    json.dump(told, sys.stdout)


@contextlib.contextmanager
def seen_winners() -> Iterator[list[tuple[Inputs, Shipped]]]:
    """Keep hold of what is shipped, before and after fine-tuning, and of what it was searched with."""
    winners: list[tuple[Inputs, Shipped]] = []

    def seen(inputs: Inputs, shipped: Shipped) -> Accuracies:
        winners.append((inputs, shipped))
        return test_accuracies(inputs, shipped)

    with mock.patch.object(deliver, "test_accuracies", seen):
        yield winners


def judged(inputs: Inputs, shipped: Shipped, *, budget_ms: float, seed: int) -> dict[str, Any]:
    """Judge a winner beside the base it was cut from."""
    nets = {BASE: inputs.teacher.model, DERIVED: shipped.derived, SHIPPED: shipped.model}
    test = split_tensors(inputs.task.test, inputs.base.preprocess)
    splits = {"train": inputs.tensors.train, "search": inputs.tensors.search, "test": test}
    return judge(nets, splits, inputs.base.preprocess, budget_ms=budget_ms, seed=seed)


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


def arguments() -> argparse.Namespace:
    """Read the command line; trials and steps are cut for trying the command out only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=list(JOBS))
    parser.add_argument("shared", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("place", type=Path)
    parser.add_argument("--second", action="store_true")
    pool: HeadPool = SearchRequest.pool
    parser.add_argument("--pool", choices=HEAD_POOLS, default=pool)
    parser.add_argument("--trials", type=int, default=SearchRequest.trials)
    parser.add_argument("--finetune-steps", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
