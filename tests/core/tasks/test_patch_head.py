"""The head on patch tokens against a least-squares problem with one row per pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nuwa_search.core.base import load_base
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.task import make_task
from nuwa_search.core.tasks import patch_head
from nuwa_search.core.tasks.head_kinds import head_kind
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.core.tensors import TaskTensors, logits_of, task_tensors
from tests.support.toy_base import write_toy_base
from tests.support.toy_masks import CLASSES, write_masks


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> TaskTensors:
    folder = write_masks(tmp_path_factory.mktemp("masks"), num_train=20, num_test=4)
    base = load_base(str(write_toy_base(tmp_path_factory.mktemp("base") / "base"))).for_task("segmentation")
    return task_tensors(make_task(load_dataset(folder).splits, data="toy", base_labels=()), base.preprocess)


def test_the_fit_is_that_of_one_row_per_pixel(tmp_path: Path, tensors: TaskTensors) -> None:
    model = patch_head.dense_model(load_base(str(write_toy_base(tmp_path / "base"))).model, len(CLASSES))
    train = tensors.train.take(torch.arange(6))
    assert train.masks is not None
    train.masks[0, :5] = IGNORED
    heads = patch_head.fit_heads(model, train, tensors.preprocess, lambda _: None)
    with torch.inference_mode():
        tokens = patch_head.patch_tokens(model, train.images, tensors.preprocess).double().numpy()
    side = model.arch.patch_size
    for head, rarity in zip(heads, patch_head.RARITIES, strict=True):
        weights = patch_head.class_weights(train.masks, len(CLASSES), rarity).numpy()
        rows, wanted, counts = [], [], []
        for image, mask in zip(tokens, train.masks.numpy(), strict=True):
            for (y, x), label in np.ndenumerate(mask):
                if label != IGNORED:
                    rows.append(image[y // side * model.arch.grid + x // side])
                    wanted.append(np.eye(len(CLASSES))[label])
                    counts.append(weights[label] / side**2)
        x, y, w = np.asarray(rows), np.asarray(wanted), np.asarray(counts)[:, None]
        middle, prior = (w * x).sum(0) / w.sum(), (w * y).sum(0) / w.sum()
        gram = (x - middle).T @ (w * (x - middle))
        ridge = patch_head.RIDGE * np.diagonal(gram).mean() * np.eye(len(gram))
        weight = np.linalg.solve(gram + ridge, (x - middle).T @ (w * (y - prior))).T
        assert head.weight.numpy() == pytest.approx(weight, abs=1e-6)
        assert head.bias.numpy() == pytest.approx(prior - weight @ middle, abs=1e-6)


def test_a_fitted_head_answers_for_every_patch_and_teaches(tmp_path: Path, tensors: TaskTensors) -> None:
    base = load_base(str(write_toy_base(tmp_path / "base"))).model
    model = head_kind()(base, tensors, num_classes=len(CLASSES))
    logits = logits_of(model, tensors.train.images, tensors.preprocess)
    assert logits.shape == (len(tensors.train), 3, 4, 4)
    assert tensors.train.masks is not None
    shares = torch.nn.functional.adaptive_avg_pool2d(
        torch.nn.functional.one_hot(tensors.train.masks.long(), 3).permute(0, 3, 1, 2).float(), 4
    )
    flat = -(shares * shares.mean(dim=(0, 2, 3), keepdim=True).log()).sum(dim=1).mean()
    assert -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean() < flat, "it says more than the classes' shares"
