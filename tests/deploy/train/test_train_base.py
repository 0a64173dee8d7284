import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet, Preprocess
from nuwa_search.core.tensors import split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.base_config import BaseDesign, BaseTrainConfig
from nuwa_search.deploy.train.base_train import BaseTrainResult, read_planned_steps, train_base
from nuwa_search.deploy.train.held_out import hold_out
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.recipe import AugmentConfig
from nuwa_search.deploy.train.score import score_split
from nuwa_search.deploy.train.to_timm import timm_from_plain
from tests.support.train_toys import make_split, make_vit, top1_of

PREPROCESS = Preprocess(img_size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), interpolation="bilinear")
DESIGN = BaseDesign(
    model_args={"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "global_pool": "avg"}
)
CONFIG = BaseTrainConfig(
    steps=8, batch_size=16, lr=2e-3, warmup_steps=2, eval_every=4, ema_decay=0.9, precision="fp32", accelerator="cpu"
)


def make_images(num: int = 60) -> ImageSet:
    split = make_split(num)
    files = []
    for pixels in split.images.permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png")
        files.append(buffer.getvalue())
    return ImageSet(files, split.labels.numpy(), ("red", "green", "blue"), "toy")


def train(
    folder: Path,
    start: BaseDesign | Base = DESIGN,
    config: BaseTrainConfig = CONFIG,
    *,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> BaseTrainResult:
    return train_base(
        start,
        make_images(),
        folder=folder,
        preprocess=PREPROCESS,
        config=config,
        progress=progress,
        checkpoint_dir=checkpoint_dir,
        resume=resume,
    )


def test_what_is_written_is_a_base_that_never_saw_its_held_out_images(tmp_path: Path) -> None:
    images = make_images()
    result = train(tmp_path / "base")
    base = load_base(str(tmp_path / "base"))
    assert base.label_names == images.label_names
    assert base.preprocess == PREPROCESS
    assert (base.arch.embed_dim, base.arch.depth, base.arch.num_tokens) == (16, 2, 5)
    assert len(base.search_hashes) == result.num_held_out == 6
    held = images.take([i for i, h in enumerate(images.hashes) if h in base.search_hashes])
    assert held.counts().tolist() == [2, 2, 2]
    score = score_split(base.model, split_tensors(held, PREPROCESS), PREPROCESS)
    assert score.loss == pytest.approx(result.search.loss, abs=5e-3)  # FP16 on disk
    with (tmp_path / "base" / "config.json").open() as file:
        assert json.load(file)["model_args"]["embed_dim"] == 16


def test_it_learns_under_mixing_and_random_operations(tmp_path: Path) -> None:
    strong = AugmentConfig(rand_ops=1, rand_magnitude=0.2, erase=0.2)
    config = dataclasses.replace(CONFIG, steps=150, eval_every=75, lr=1e-2, augment=strong, drop_path=0.0)
    assert top1_of(train(tmp_path, config=config).search) > 0.8


def test_same_seed_same_bits_with_drop_path_and_after_an_interruption(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, drop_path=0.5)

    def interrupt(report: Progress) -> None:
        if report.step == 6:
            raise KeyboardInterrupt

    first = train(tmp_path / "a", config=config).outcome
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", config=config, checkpoint_dir=tmp_path / "run", progress=interrupt)
    second = train(tmp_path / "b", config=config, checkpoint_dir=tmp_path / "run", resume=True).outcome
    assert second.resumed_from == 6
    assert first.curve == second.curve
    assert all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)


def test_minutes_shorten_the_run_and_a_resumed_one_keeps_its_length(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=10**6, eval_every=10**6, minutes=1 / 60)
    first = train(tmp_path / "a", config=config, checkpoint_dir=tmp_path / "run").outcome
    assert 1 <= first.steps < 10**5
    assert first.seconds < 60  # asked for one; a busy machine overshoots, and all steps would take hours
    steps = json.loads((tmp_path / "run" / "plan.json").read_text())["steps"]
    again = train(tmp_path / "a", config=config, checkpoint_dir=tmp_path / "run", resume=True).outcome
    assert again.resumed_from in (steps, first.steps)


@pytest.mark.parametrize("text", ["{", "[]", '{"steps": 1e999}', '{"steps": 0}', '{"steps": true}', '{"steps": 2.5}'])
def test_a_damaged_plan_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(NuwaError, match=r"plan of a run .*cannot be read"):
        read_planned_steps(tmp_path / "plan.json")


def test_a_base_of_ours_can_be_trained_on(tmp_path: Path) -> None:
    train(tmp_path / "first")
    base = load_base(str(tmp_path / "first"))
    again = train(tmp_path / "second", start=base, config=dataclasses.replace(CONFIG, steps=1, lr=1e-9))
    assert again.outcome.history[0].score.loss == pytest.approx(
        score_split(base.model, split_tensors(hold_out(make_images(), 0.1).search, PREPROCESS), PREPROCESS).loss,
        rel=1e-4,
    )
    assert load_base(str(tmp_path / "second")).arch == base.arch


@pytest.mark.parametrize(
    "change",
    [{}, {"num_prefix_tokens": 3}, {"global_pool": "avg", "final_norm": "after_pool"}, {"pre_norm": True}],
    ids=str,
)
def test_timm_computes_what_the_plain_vit_computes(change: dict[str, Any]) -> None:
    plain = make_vit()
    vit = PlainViT(dataclasses.replace(plain.arch, **change)).eval()
    with torch.no_grad():
        for p in vit.parameters():
            p.copy_(torch.randn(p.shape) * 0.2)
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(timm_from_plain(vit).eval()(x), vit(x), rtol=1e-4, atol=1e-5)


def test_what_timm_cannot_hold_is_refused_by_name() -> None:
    vit = make_vit()
    blocks = (vit.arch.blocks[0], BlockSpec(1, 8, 8, 32))
    with pytest.raises(NuwaError, match="blocks differ"):
        timm_from_plain(PlainViT(dataclasses.replace(vit.arch, blocks=blocks)))
    with pytest.raises(NuwaError, match="fill the width"):
        timm_from_plain(make_vit(num_heads=1))


def test_copies_of_a_held_out_image_are_held_out_too() -> None:
    images = make_images(30)
    doubled = ImageSet([*images.encoded, *images.encoded], np.tile(images.labels, 2), images.label_names, "toy")
    split = hold_out(doubled, 0.2)
    assert not set(split.train.hashes) & set(split.search.hashes)
    assert len(split.train) + len(split.search) == 60
    assert split.hashes == set(split.search.hashes)
    with pytest.raises(NuwaError, match="red"):
        hold_out(images.take([0, 1, 2, 4, 5]), 0.2)


def test_wrong_designs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match="vit_tin"):
        train(tmp_path, start=BaseDesign(timm_name="vit_tin"))
    with pytest.raises(NuwaError, match="32 px"):
        train(tmp_path, start=BaseDesign(model_args={**DESIGN.model_args, "img_size": 32}))
    with pytest.raises(NuwaError, match="colour"):
        train(tmp_path, start=BaseDesign(model_args={"colour": 3}))
