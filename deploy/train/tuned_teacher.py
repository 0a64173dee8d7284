"""A teacher that was itself fine-tuned on the task, made once and kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors, load_vit, save_weights
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.recipe import hash_recipe
from nuwa_search.deploy.train.teacher import Teacher, hash_split


def tuned_teacher(
    model: PlainViT,
    data: TaskTensors,
    *,
    config: FinetuneConfig,
    cache_dir: Path,
    progress: Callable[[Progress], None] | None = None,
) -> Teacher:
    """Fine-tune the base on the task's labels and let it teach; read from ``cache_dir`` where it is there.

    Args:
        model: The base with the task's head.
        data: Its train split is trained on, its search split and metric choose the weights.
        config: Of the teacher's own fine-tuning; its distillation settings are ignored.
        cache_dir: Where the teacher and its stored outputs are kept.
        progress: Called with where the run stands.

    Raises:
        NuwaError: If labels and model do not fit, or the kept weights are corrupt.
    """
    parts = [hash_tensors(model.state_dict()), model.arch.arch_id, hash_split(data.train), hash_split(data.search)]
    if data.metric != "top1":
        parts.append(data.metric)
    key = hashlib.sha256(":".join([*parts, hash_recipe(config), repr(data.preprocess)]).encode()).hexdigest()[:16]
    path = cache_dir / f"tuned-{key}.safetensors"
    if path.exists():
        return Teacher(load_vit(model.arch, path), cache_dir=cache_dir)
    run_dir = cache_dir / f"tuned-{key}.run"
    result = finetune(
        model,
        data,
        teacher=None,
        config=config,
        progress=progress,
        checkpoint_dir=run_dir,
        resume=True,
    )
    if join_processes().is_first:
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        save_weights(result.student, temporary)
        temporary.replace(path)
    return Teacher(result.student, cache_dir=cache_dir)
