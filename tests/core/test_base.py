import json
import shutil
from pathlib import Path

import pytest
import torch

from nuwa_search.core.base import ASSETS_DIR, load_base
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.heads import fit_head, restrict_head
from nuwa_search.core.images import ImageSet
from nuwa_search.core.logits import logits_of, top1
from nuwa_search.core.sources import random_note
from nuwa_search.core.task import make_task
from nuwa_search.core.tensors import split_tensors


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(ASSETS_DIR / "base", folder)
    return folder


@pytest.fixture(scope="module")
def cifar100(shared: Path) -> dict[str, ImageSet]:
    return load_dataset(shared / "data" / "cifar100").splits


def test_restricted_head_is_the_bases_argmax_over_the_classes(cifar100: dict[str, ImageSet]) -> None:
    base = load_base()
    task = make_task(cifar100, data="d", base_labels=base.label_names, classes=["8", "90"])
    test = split_tensors(task.test, base.preprocess)
    assert task.base_classes == (8, 90)
    small = restrict_head(base.model, task.base_classes)
    assert small.head.weight.shape == (2, 192)
    everything = logits_of(base.model, test.images, base.preprocess)
    torch.testing.assert_close(logits_of(small, test.images, base.preprocess), everything[:, [8, 90]])
    assert top1(logits_of(small, test.images, base.preprocess), test.labels) > 0.9


def test_fitted_head_separates_new_classes(cifar100: dict[str, ImageSet]) -> None:
    base = load_base()
    task = make_task(cifar100, data="d", base_labels=("a", "b"), classes=["8", "13", "90"])
    assert task.base_classes is None
    few = split_tensors(task.train.take(range(0, len(task.train), 4)), base.preprocess)
    model = fit_head(base.model, few, base.preprocess, num_classes=3)
    test = split_tensors(task.test, base.preprocess)
    assert top1(logits_of(model, test.images, base.preprocess), test.labels) > 0.8


def test_truncated_weights_are_refused(base_folder: Path) -> None:
    weights = base_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(NuwaError, match=r"model\.safetensors cannot be read"):
        load_base(str(base_folder))


def test_weights_of_another_shape_are_refused(base_folder: Path) -> None:
    config = json.loads((base_folder / "config.json").read_text())
    config["model_args"]["embed_dim"] = 96
    (base_folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(NuwaError, match="does not describe"):
        load_base(str(base_folder))


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_broken_config_is_refused(base_folder: Path, text: str) -> None:
    (base_folder / "config.json").write_text(text)
    with pytest.raises(NuwaError, match=r"config\.json"):
        load_base(str(base_folder))


def test_missing_folder_is_never_looked_up_on_the_hub() -> None:
    with pytest.raises(NuwaError, match=r"config\.json is missing"):
        load_base("./no-such-base")


def test_unknown_base_suggests() -> None:
    with pytest.raises(NuwaError) as caught:
        load_base("deit_smal_patch16_224")
    assert "did you mean 'deit_small_patch16_224'" in caught.value.hint


def test_base_that_is_no_vit_is_refused() -> None:
    with pytest.raises(NuwaError, match="timm has it in resnet, not among its plain ViTs"):
        load_base("resnet18")  # refused by name, before any weights are fetched


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(OutsideError, match="could not be fetched"):
        load_base("vit_base_patch16_224")


def test_a_random_base_is_the_same_every_time_and_says_what_it_is() -> None:
    torch.manual_seed(1)
    one = load_base("random:vit_tiny_patch16_dinov3_qkvb")
    torch.manual_seed(2)
    two = load_base("random:vit_tiny_patch16_dinov3_qkvb")
    assert one.base_id == two.base_id
    assert (one.is_random, one.has_head, one.arch.rope_dim) == (True, False, 64)
    (note,) = random_note(one)
    assert note.startswith("RANDOM WEIGHTS: random:vit_tiny_patch16_dinov3_qkvb was never trained")
