import dataclasses
import types
from pathlib import Path

import pytest
import torch

from nuwa_search.core import decided_logits as decided_module
from nuwa_search.core.heads import fit_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.augment import render
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.recipe import NO_AUGMENT, AugmentConfig
from nuwa_search.deploy.train.score import score_split
from nuwa_search.deploy.train.teacher import Teacher, TeacherOutputs, hash_split, view_key
from nuwa_search.deploy.train.tuned_teacher import tuned_teacher
from nuwa_search.deploy.train.views import View, draw_view
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit, run, top1_of

CPU = torch.device("cpu")


def outputs_of(teacher: Teacher, split: SplitTensors, number: int = 0) -> tuple[TeacherOutputs, View]:
    view = draw_view(CONFIG, number, num_images=len(split), img_size=16)
    key = view_key(hash_split(split), CONFIG, number, PREPROCESS)
    said = teacher.outputs(split, view, key=key, preprocess=PREPROCESS, device=CPU, precision="fp32")
    return said, view


def test_outputs_are_of_the_pixels_the_student_sees() -> None:
    teacher, split = Teacher(make_vit()), make_split(30)
    said, view = outputs_of(teacher, split)
    with torch.no_grad():
        x = render(split.images, view, torch.arange(30), PREPROCESS)
        torch.testing.assert_close(said.logits, teacher.model(x))
        torch.testing.assert_close(teacher.model.head(said.features), said.logits)


def count_forwards(model: PlainViT) -> list[int]:
    calls = []
    model.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_a_view_is_asked_once_for_all_students() -> None:
    teacher, split = Teacher(make_vit()), make_split(30)
    calls = count_forwards(teacher.model)
    first, _ = outputs_of(teacher, split)
    again, _ = outputs_of(teacher, split)
    assert len(calls) == 1
    assert torch.equal(first.logits, again.logits)
    outputs_of(teacher, split, number=1)
    outputs_of(teacher, make_split(30, seed=4))
    assert len(calls) == 3


def test_stored_outputs_outlive_the_process_and_know_their_teacher(tmp_path: Path) -> None:
    split = make_split(30)
    first, _ = outputs_of(Teacher(make_vit(), cache_dir=tmp_path), split)
    second = Teacher(make_vit(), cache_dir=tmp_path)
    calls = count_forwards(second.model)
    again, _ = outputs_of(second, split)
    assert calls == []
    assert torch.equal(first.logits, again.logits)
    other = Teacher(make_vit(seed=5), cache_dir=tmp_path)
    assert not torch.equal(outputs_of(other, split)[0].logits, first.logits)


def test_a_key_tells_apart_all_that_changes_pixels() -> None:
    keys = {
        view_key("h", config, number, preprocess)
        for number in (0, 1)
        for preprocess in (PREPROCESS, dataclasses.replace(PREPROCESS, mean=(0.1, 0.1, 0.1)))
        for config in (
            CONFIG,
            dataclasses.replace(CONFIG, seed=1),
            dataclasses.replace(CONFIG, mixup=0.2),
            dataclasses.replace(CONFIG, augment=AugmentConfig(erase=0.1)),
        )
    }
    assert len(keys) == 16
    assert view_key("h", dataclasses.replace(CONFIG, lr=1.0, steps=5), 0, PREPROCESS) in keys


def test_students_of_one_teacher_share_its_outputs() -> None:
    teacher = Teacher(make_vit(seed=2))
    calls = count_forwards(teacher.model)
    data = TaskTensors(make_split(48), make_split(24, seed=9), PREPROCESS)
    for seed in (1, 3):
        finetune(make_vit(seed=seed), data, teacher=teacher, config=CONFIG)
    assert len(calls) == CONFIG.views
    assert top1_of(run().after) > 0


def test_a_tuned_teacher_is_better_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, steps=60, eval_every=60)
    base, search = make_vit(seed=2, num_heads=4), make_split(24, seed=9)
    data = TaskTensors(make_split(48), search, PREPROCESS)
    first = tuned_teacher(base, data, config=config, cache_dir=tmp_path)
    assert score_split(first.model, search, PREPROCESS).beats(score_split(base, search, PREPROCESS))
    monkeypatch.setattr("nuwa_search.deploy.train.tuned_teacher.finetune", lambda *_, **__: 1 / 0)
    again = tuned_teacher(base, data, config=config, cache_dir=tmp_path)
    assert again.teacher_id == first.teacher_id
    with pytest.raises(ZeroDivisionError):
        tuned_teacher(make_vit(seed=3), data, config=config, cache_dir=tmp_path)


def test_features_that_the_head_was_fitted_to_are_the_teachers_own() -> None:
    split = make_split(30)
    data = TaskTensors(split, make_split(12, seed=3), PREPROCESS)
    model = fit_head(make_vit(), split, PREPROCESS, num_classes=3, known=data.known)
    calls, teacher = count_forwards(model), Teacher(model)

    def outputs(config: FinetuneConfig, known: KnownOutputs | None) -> TeacherOutputs:
        view = draw_view(config, 0, num_images=len(split), img_size=16)
        key = f"{config.augment}"
        return teacher.outputs(split, view, key=key, preprocess=PREPROCESS, device=CPU, precision="fp32", known=known)

    plain = dataclasses.replace(CONFIG, augment=NO_AUGMENT)
    kept = outputs(plain, data.known)
    assert calls == []
    run_again = outputs(plain, None)
    assert len(calls) == 1
    torch.testing.assert_close(kept.logits, run_again.logits)
    torch.testing.assert_close(kept.features, run_again.features)
    outputs(CONFIG, data.known)  # moved images are others
    assert len(calls) == 2


def test_a_student_that_was_scored_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_module, "has_bf16", lambda device: False)  # else some images run twice
    data = TaskTensors(make_split(48), make_split(24, seed=9), PREPROCESS)
    student = make_vit(seed=1)
    before = data.search_logits(student)
    ran: list[PlainViT] = []

    def counted(model: PlainViT, images: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
        ran.append(model)
        return logits_of(model, images, preprocess)

    monkeypatch.setattr(decided_module, "logits_of", counted)
    config = dataclasses.replace(CONFIG, steps=4, ema_decay=0.0)
    result = finetune(student, data, teacher=None, config=config)
    assert len(ran) == 1  # after the last step; before the first it was known
    assert result.before == score_split(student, data.search, PREPROCESS)
    torch.testing.assert_close(data.search_logits(student), before)
    again = data.search_logits(result.student)
    assert len(ran) == 1
    torch.testing.assert_close(again, logits_of(result.student, data.search.images, PREPROCESS))


def test_what_a_gpu_said_is_kept_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a tensor elsewhere: nothing reads it but by bringing it here."""
    data, here = TaskTensors(make_split(48), make_split(24, seed=9), PREPROCESS), torch.zeros(24, 3)
    monkeypatch.setattr(decided_module, "has_bf16", lambda device: False)
    monkeypatch.setattr(decided_module, "logits_of", lambda *_: types.SimpleNamespace(cpu=lambda: here))
    assert data.search_logits(make_vit(seed=1)) is here
