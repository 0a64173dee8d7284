"""A tiny task that a tiny ViT learns in seconds; run as a script it is one fine-tuning in its own process."""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult, finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.recipe import AugmentConfig
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.deploy.train.teacher import Teacher

PREPROCESS = Preprocess(img_size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CONFIG = FinetuneConfig(
    steps=12,
    batch_size=16,
    lr=2e-3,
    warmup_steps=2,
    eval_every=4,
    views=2,
    alpha=0.5,  # the toy teacher is random: labels must be heard
    temperature=2.0,
    augment=AugmentConfig(flip=True, shift=0.125),
    precision="fp32",
    accelerator="cpu",
)


def make_vit(*, seed: int = 0, depth: int = 2, num_heads: int = 2, width: int = 8, embed_dim: int = 16) -> PlainViT:
    """Build a random net over 4 patches and a class token, 3 classes."""
    block = BlockSpec(num_heads, width, width, 2 * embed_dim)
    vit = PlainViT(Arch((block,) * depth, embed_dim=embed_dim, num_classes=3, img_size=16, patch_size=8))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in vit.named_parameters():
            if "norm" not in name:
                p.copy_(torch.randn(p.shape, generator=rng) * 0.2)
    return vit.eval()


def make_split(num: int, *, seed: int = 0) -> SplitTensors:
    """Draw images whose brightest channel is their class, under noise."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    images = torch.randint(0, 160, (num, 3, 16, 16), generator=rng)
    images[torch.arange(num), labels] += 60
    return SplitTensors(images.to(torch.uint8), labels)


def top1_of(score: SplitScore) -> float:
    """The top1 of a score of whole images."""
    assert score.top1 is not None
    return score.top1


def run(
    config: FinetuneConfig = CONFIG,
    *,
    with_teacher: bool = True,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> FinetuneResult:
    """Fine-tune the toy student on the toy task."""
    return finetune(
        make_vit(seed=1),
        TaskTensors(make_split(48), make_split(24, seed=9), PREPROCESS),
        teacher=Teacher(make_vit(seed=2, num_heads=4)) if with_teacher else None,
        config=config,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
        resume=resume,
    )


def main() -> None:
    """Fine-tune as the arguments say and write the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint-dir", type=Path)
    parser.add_argument("--hang-after", type=int, default=0)
    parser.add_argument("--accumulate", type=int, default=1)
    options = parser.parse_args()

    def progress(report: Progress) -> None:
        if options.hang_after and report.step >= options.hang_after:
            (options.checkpoint_dir / "hanging").touch()
            time.sleep(60)

    config = dataclasses.replace(CONFIG, accumulate=options.accumulate, relation_scale=0.5)
    result = run(config, checkpoint_dir=options.checkpoint_dir, progress=progress)
    save_file(dict(result.student.state_dict()), options.out)


if __name__ == "__main__":
    main()
