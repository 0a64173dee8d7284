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
from nuwa_search.core.heads import pooled_by, with_head
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import task_tensors
from nuwa_search.core.vit import PlainViT


def main(name: str, shared: Path, seed: int, place: Path) -> None:
    """Open base and task as a search does."""
    job = JOBS[name]
    base = load_base(job.base)
    task = open_task(base, data=job.data_in(shared), label_column=None, classes=job.classes, seed=seed)
    tensors = task_tensors(task, base.preprocess)
    model = by_class_token(task_base(base, task, tensors).model)
    about = {
        "arch": dataclasses.asdict(model.arch),
        "preprocess": dataclasses.asdict(base.preprocess),
        "test images": len(task.test),
    }
    (place / "arch.json").write_text(json.dumps(about))
    train, search = ((part.images, part.labels) for part in (tensors.train, tensors.search))
    torch.save({"model": model.state_dict(), "train": train, "search": search}, place / "tensors.pt")


def by_class_token(model: PlainViT) -> PlainViT:
    """Let a head that reads the mean of the patches beside the class token read that alone: 494cfc3 knew no other."""
    if model.arch.global_pool != "token_avg":
        return model
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    return with_head(pooled_by(model, "token"), weight[:, : model.arch.embed_dim], bias)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
