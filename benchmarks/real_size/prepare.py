"""Write a base with the task's head and its images as plain tensors, which an old build can read.

Usage: python -m benchmarks.real_size.prepare JOB SHARED SEED PLACE
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch

from benchmarks.real_size.jobs import JOBS
from nuwa_search.core.base import load_base
from nuwa_search.core.tensors import task_tensors
from nuwa_search.service.workflow.sources import open_task, task_base


def main(name: str, shared: Path, seed: int, place: Path) -> None:
    """Open base and task as a search does."""
    job = JOBS[name]
    base = load_base(job.base)
    task = open_task(base, data=job.data_in(shared), label_column=None, classes=job.classes, seed=seed)
    tensors = task_tensors(task, base.preprocess)
    model = task_base(base, task, tensors).model
    about = {"arch": dataclasses.asdict(model.arch), "preprocess": dataclasses.asdict(base.preprocess)}
    (place / "arch.json").write_text(json.dumps(about))
    train, search = ((part.images, part.labels) for part in (tensors.train, tensors.search))
    torch.save({"model": model.state_dict(), "train": train, "search": search}, place / "tensors.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
