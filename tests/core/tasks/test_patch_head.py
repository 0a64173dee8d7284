"""The head on patch tokens against a least-squares problem with one row per pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.base import load_base
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.fit_ridge import ROUNDING
from nuwa_search.core.logits import logits_of
from nuwa_search.core.task import make_task
from nuwa_search.core.tasks import patch_head
from nuwa_search.core.tasks.head_kinds import head_kind
from nuwa_search.core.tasks.label_maps import FINE
from nuwa_search.core.tasks.masks import IGNORED
from nuwa_search.core.tasks.pixel_weights import class_weights, pixel_weights
from nuwa_search.core.tasks.tune_head import tuned_head
from nuwa_search.core.tensors import TaskTensors, task_tensors
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
    heads = patch_head.fit_heads(model, train, tensors.preprocess, lambda _: None).heads
    with torch.inference_mode():
        tokens = patch_head.patch_tokens(model, train.images, tensors.preprocess).double().numpy()
    side = model.arch.patch_size
    for head, rarity in zip(heads, patch_head.RARITIES, strict=True):
        weights = class_weights(train.masks, len(CLASSES), rarity).numpy()
        rows, wanted, counts = [], [], []
        for image, mask in zip(tokens, train.masks.numpy(), strict=True):
            for (y, x), label in np.ndenumerate(mask):
                if label != IGNORED:
                    rows.append(image[y // side * model.arch.grid[1] + x // side])
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


def test_tuning_lowers_the_loss_on_finer_cells_below_any_scale_of_the_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(8, 16, 6, generator=rng)
    thin = (tokens[..., 0] > 0.5).view(8, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    masks = (thin & (torch.arange(32) % 8 < 3)).to(torch.uint8)  # the left of a patch, which no patch alone can say
    masks[0, 0] = IGNORED
    weights = pixel_weights(masks, 2, 0.25)
    pixels = torch.stack([(masks == k).float() for k in range(2)], dim=1)
    shares = weights[:, None, None] * F.avg_pool2d(pixels, 32 // (4 * FINE))

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> float:
        scores = (tokens @ weight.float().T + bias.float()).transpose(1, 2).reshape(8, 2, 4, 4)
        logs = F.interpolate(scores, size=4 * FINE, mode="bilinear").log_softmax(dim=1)
        return float(-(shares * logs).sum() / shares.sum())

    flat = tokens.flatten(0, 1)
    wanted = F.avg_pool2d(pixels, 8).permute(0, 2, 3, 1).reshape(-1, 2)
    weight = torch.linalg.lstsq(flat, wanted - wanted.mean(dim=0)).solution.T
    bias = wanted.mean(dim=0)
    found = tuned_head(weight, bias, tokens=tokens, grid=(4, 4), masks=masks, rarity=0.25)
    assert loss(*found) < 0.97 * min(loss(s * weight, s * bias) for s in torch.logspace(-1, 3, 81))
    again = tuned_head(weight, bias, tokens=tokens, grid=(4, 4), masks=masks, rarity=0.25)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_tokens_that_hardly_vary_are_fitted_with_the_noise_of_their_rounding() -> None:
    """Class shares that follow a ten-thousandth of the tokens' size."""
    rng = torch.Generator().manual_seed(0)
    count, width, classes = 400, 6, 2
    share = torch.rand(count, 1, generator=rng).double()
    wanted = torch.cat([share, 1 - share], dim=1)
    directions = torch.randn(1, width, generator=rng).double()
    tokens = 1.0 + 1e-4 * (share @ directions + 0.1 * torch.randn(count, width, generator=rng).double())
    rows = F.pad(tokens, (0, 1), value=1.0)
    gram, cross = rows.T @ rows, rows.T @ wanted
    noise = patch_head._noise_of(gram)
    assert noise == pytest.approx(ROUNDING, rel=1e-3)
    plain, steady = (patch_head.solve_head(gram, cross, noise=value) for value in (0.0, noise))
    assert float(plain.weight.abs().max()) > 100 * float(steady.weight.abs().max())
    assert steady.bias.shape == (classes,)
    varied = F.pad(torch.randn(count, width, generator=rng).double(), (0, 1), value=1.0)
    assert patch_head._noise_of(varied.T @ varied) == 0.0
