import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import logits_of
from nuwa_search.deploy.train.batches import plan_batches
from nuwa_search.deploy.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.optimiser import make_optimiser, make_schedule, set_lr
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.score import SplitScore, score_split
from nuwa_search.deploy.train.watch import loss_problem, score_problem
from tests.support.train_toys import PREPROCESS, make_split, make_vit


def test_an_epoch_shows_every_image_once_split_over_parts_and_processes() -> None:
    plan = plan_batches(Recipe(batch_size=12, accumulate=2, seed=3), num_images=50, processes=3)
    whole = plan_batches(Recipe(batch_size=12, seed=3), num_images=50, processes=1)
    seen = []
    for step in range(plan.steps_per_epoch):
        batch = torch.cat([plan.indices(step, part=p, rank=r) for p in range(2) for r in range(3)])
        assert torch.equal(batch, whole.indices(step))
        seen += batch.tolist()
    assert len(seen) == len(set(seen)) == 48
    assert not torch.equal(plan.indices(0), plan.indices(4))
    assert plan.epoch_of(3) == 0
    assert plan.epoch_of(4) == 1


def test_a_task_smaller_than_a_batch_is_one_batch() -> None:
    plan = plan_batches(Recipe(batch_size=64, accumulate=2), num_images=11, processes=1)
    assert plan.batch_size == 10
    with pytest.raises(NuwaError, match="4 parts"):
        plan_batches(Recipe(batch_size=6, accumulate=4), num_images=100, processes=1)


def test_weight_decay_spares_norms_biases_tokens_and_positions() -> None:
    vit = make_vit()
    names = {id(p): n for n, p in vit.named_parameters()}
    groups = make_optimiser(vit, Recipe(weight_decay=0.1)).param_groups
    decayed = {names[id(p)] for g in groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {n for n in names.values() if n.endswith("weight") and "norm" not in n}
    assert sum(len(g["params"]) for g in groups) == len(names)


def test_layer_decay_falls_from_head_to_stem() -> None:
    vit = make_vit(depth=3)
    recipe = Recipe(layer_decay=0.5, lr=1e-2)
    optimiser = make_optimiser(vit, recipe)
    set_lr(optimiser, make_schedule(optimiser, recipe), step=recipe.warmup_steps, factor=1.0)
    names = {id(p): n for n, p in vit.named_parameters()}
    lrs = {names[id(p)]: g["lr"] for g in optimiser.param_groups for p in g["params"]}
    assert lrs["head.weight"] == pytest.approx(1e-2)
    assert lrs["blocks.2.mlp.fc1.weight"] == pytest.approx(5e-3)
    assert lrs["blocks.0.attn.qkv.bias"] == pytest.approx(1.25e-3)
    assert lrs["patch_embed.proj.weight"] == lrs["prefix_tokens"] == pytest.approx(6.25e-4)


def test_rates_follow_the_size_of_each_tensor_as_it_was() -> None:
    vit = make_vit()
    with torch.no_grad():
        vit.head.weight.fill_(-0.5)
        vit.head.bias.zero_()
    recipe = Recipe(lr=1e-2, lr_of_rms=True, layer_decay=0.5)
    optimiser = make_optimiser(vit, recipe)
    names = {id(p): n for n, p in vit.named_parameters()}
    assert [len(group["params"]) for group in optimiser.param_groups] == [1] * len(names)
    found = set_lr(optimiser, make_schedule(optimiser, recipe), step=recipe.warmup_steps, factor=0.1)
    assert found == pytest.approx(1e-3)
    lrs = {names[id(g["params"][0])]: g["lr"] for g in optimiser.param_groups}
    assert lrs["head.weight"] == pytest.approx(0.5 * 1e-3)
    assert lrs["head.bias"] == pytest.approx(1e-3 * 1e-3), "one of zeros can move"
    weight = vit.patch_embed.proj.weight.detach()
    below = 0.5 ** (len(vit.blocks) + 1)
    assert lrs["patch_embed.proj.weight"] == pytest.approx(below * 1e-3 * float(weight.square().mean().sqrt()))


def test_schedule_is_linear_then_cosine() -> None:
    recipe = Recipe(steps=100, warmup_steps=10, lr=1.0)
    optimiser = make_optimiser(make_vit(), recipe)
    schedule = make_schedule(optimiser, recipe)
    for step in (0, 4, 10, 55, 99):
        expected = (step + 1) / 11
        if step == 4:
            expected = 1 / 11 + 4 * (10 / 11) / 10
        if step >= 10:
            expected = 0.01 + 0.5 * 0.99 * (1 + math.cos(math.pi * (step - 10) / 90))
        assert set_lr(optimiser, schedule, step=step, factor=0.5) == pytest.approx(0.5 * expected)


def test_score_counts_and_orders() -> None:
    vit, split = make_vit(), make_split(30)
    logits = logits_of(vit, split.images, PREPROCESS)
    score = score_split(vit, split, PREPROCESS)
    assert score.top1 == pytest.approx(float((logits.argmax(1) == split.labels).float().mean()))
    assert score.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, split.labels)), rel=1e-5)
    assert score.top5 is None
    assert SplitScore(0.5, None, 1.0).beats(SplitScore(0.5, None, 1.1))
    assert not SplitScore(0.5, None, 1.0).beats(SplitScore(0.5, None, 1.0))
    assert SplitScore(0.6, None, 9.0).beats(SplitScore(0.5, None, 1.0))


def test_where_balanced_accuracy_counts_it_orders_scores() -> None:
    vit, whole = make_vit(), make_split(30)
    split = whole.take(torch.cat([torch.arange(30)[whole.labels != 0], torch.arange(30)[whole.labels == 0][:2]]))
    logits = logits_of(vit, split.images, PREPROCESS)
    wanted = class_scores(logits, split.labels)
    score = score_split(vit, split, PREPROCESS, metric="balanced")
    assert score.top1 == pytest.approx(wanted.top1)
    assert score.num_images == len(split)
    assert score.accuracy == score.balanced == pytest.approx(wanted.balanced_accuracy)
    assert score.interval == pytest.approx(wanted.balanced_interval)
    rows = torch.nn.functional.cross_entropy(logits, split.labels, reduction="none")
    by_class = torch.stack([rows[split.labels == c].mean() for c in split.labels.unique()])
    assert score.loss == pytest.approx(float(by_class.mean()), rel=1e-5)
    good_only = SplitScore(0.99, None, 0.1, 100, 0.5, (0.4, 0.6))
    assert SplitScore(0.9, None, 1.0, 100, 0.8, (0.7, 0.9)).beats(good_only)
    assert good_only.said == "50.0 % (40.0-60.0, 100 images) balanced"
    assert score_split(vit, split, PREPROCESS).interval == pytest.approx(wanted.top1_interval)


def test_watch_notices_what_is_not_finite_spikes_and_collapses() -> None:
    assert loss_problem([1.0] * 50, scale=1.0) is None
    assert "nan" in (loss_problem([1.0, math.nan], scale=1.0) or "")
    assert "rose" in (loss_problem([1.0] * 30 + [3.5] * 10, scale=1.0) or "")
    assert loss_problem([0.1] * 30 + [0.9] * 10, scale=1.1) is None  # still below a net that knows nothing
    best = SplitScore(0.9, None, 0.4)
    assert score_problem(SplitScore(0.8, None, 0.5), best=best) is None
    assert "top1 fell" in (score_problem(SplitScore(0.3, None, 0.5), best=best) or "")
    assert "nan" in (score_problem(SplitScore(0.3, None, math.nan), best=None) or "")
    pixels = SplitScore(None, None, 0.4, miou=0.6)
    assert "mIoU fell to 0.100 from 0.600" in (score_problem(dataclasses.replace(pixels, miou=0.1), best=pixels) or "")


def test_checkpoints_replace_each_other_whole(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (3, 7):
        save_checkpoint(tmp_path, Checkpoint({"model.a": torch.full((2,), float(step))}, {"step": step}))
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.values == {"step": 7}
    assert torch.equal(found.tensors["model.a"], torch.tensor([7.0, 7.0]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "step-0000007.safetensors"]


def test_a_killed_write_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, Checkpoint({"a": torch.ones(1)}, {"step": 1}))
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)  # the tensors are written, the state is not
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(tmp_path, Checkpoint({"a": torch.zeros(1)}, {"step": 2}))
    monkeypatch.undo()
    kept = load_checkpoint(tmp_path)
    assert kept is not None
    assert kept.values == {"step": 1}


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint({"a": torch.ones(1)}, {"step": 1}))
    (tmp_path / "step-0000001.safetensors").write_bytes(b"half")
    with pytest.raises(NuwaError, match=r"state\.json"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"lr": -1.0},
        {"alpha": 1.5},
        {"temperature": 0.0},
        {"precision": "fp8"},
        {"accelerator": "tpu"},
        {"label_smoothing": 1.0},
        {"relation_weights": (0.0, 0.0, 0.0)},
        {"layer_decay": 0.0},
        {"lr": math.nan},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(NuwaError, match=next(iter(wrong))):
        dataclasses.replace(FinetuneConfig(), **wrong)


def test_half_a_torchrun_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(NuwaError, match="RANK"):
        join_processes()
