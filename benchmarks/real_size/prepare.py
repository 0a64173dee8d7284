"""Write a base with the task's head and its images as plain tensors, which an old build can read.

Usage: python -m benchmarks.real_size.prepare JOB SHARED SEED PLACE

A head that is fitted reads the class token alone: 494cfc3 knew no head that reads it beside the mean of the patches.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch

from benchmarks.real_size.jobs import CLASS_TOKEN, JOBS
from nuwa_search.core.base import load_base
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import split_tensors, task_tensors


def main(name: str, shared: Path, seed: int, place: Path) -> None:
    """Open base and task as a search does."""
    job = JOBS[name]
    base = load_base(job.base)
    task = open_task(base, data=job.data_in(shared), label_column=None, classes=job.classes, seed=seed)
    tensors = task_tensors(task, base.preprocess)
    headed = task_base(base, task, tensors, pool=CLASS_TOKEN)
    about = {
        "arch": dataclasses.asdict(headed.model.arch),
        "preprocess": dataclasses.asdict(base.preprocess),
        "classes": task.class_names,
        "head is fitted": headed.has_fitted_head,
    }
    (place / "arch.json").write_text(json.dumps(about))
    splits = {"train": tensors.train, "search": tensors.search, "test": split_tensors(task.test, base.preprocess)}
    plain = {split: (part.images, part.labels) for split, part in splits.items()}
    torch.save({"model": headed.model.state_dict()} | plain, place / "tensors.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
