"""A teacher that was itself fine-tuned on the task, made once and kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from nuwa_search.core.images import Preprocess
from nuwa_search.core.metric import Metric
from nuwa_search.core.tensors import SplitTensors
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
    *,
    train: SplitTensors,
    search: SplitTensors,
    preprocess: Preprocess,
    config: FinetuneConfig,
    cache_dir: Path,
    progress: Callable[[Progress], None] | None = None,
    metric: Metric = "top1",
) -> Teacher:
    """Fine-tune the base on the task's labels and let it teach; read from ``cache_dir`` where it is there.

    Args:
        model: The base with the task's head.
        train: Trained on.
        search: Chooses the weights.
        preprocess: Of the base.
        config: Of the teacher's own fine-tuning; its distillation settings are ignored.
        cache_dir: Where the teacher and its stored outputs are kept.
        progress: Called with where the run stands.
        metric: Which accuracy chooses the weights.

    Raises:
        NuwaError: If labels and model do not fit, or the kept weights are corrupt.
    """
    parts = [hash_tensors(model.state_dict()), model.arch.arch_id, hash_split(train), hash_split(search)]
    if metric != "top1":
        parts.append(metric)
    key = hashlib.sha256(":".join([*parts, hash_recipe(config), repr(preprocess)]).encode()).hexdigest()[:16]
    path = cache_dir / f"tuned-{key}.safetensors"
    if path.exists():
        return Teacher(load_vit(model.arch, path), cache_dir=cache_dir)
    run_dir = cache_dir / f"tuned-{key}.run"
    result = finetune(
        model,
        teacher=None,
        train=train,
        search=search,
        preprocess=preprocess,
        config=config,
        progress=progress,
        checkpoint_dir=run_dir,
        resume=True,
        metric=metric,
    )
    if join_processes().is_first:
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        save_weights(result.student, temporary)
        temporary.replace(path)
    return Teacher(result.student, cache_dir=cache_dir)
