"""Purification learns masks and leaves the base alone; the open-set score tells strangers apart."""

import dataclasses

import pytest
import torch

from nuwa_search.core.logits import normalise
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.open_set import open_set_score, open_set_threshold
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.purify import TopShare, learn_masks, masked_logits, new_masks, purified
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_blocks
from tests.support.vit_parts import mlp_of


@pytest.fixture
def inputs() -> torch.Tensor:
    return normalise(make_split(8).images, PREPROCESS)


def test_starts_near_the_base(inputs: torch.Tensor) -> None:
    model = make_model("avg")
    with torch.no_grad():
        gap = (masked_logits(model, new_masks(model), inputs) - model(inputs)).abs().max()
        spread = model(inputs).std()
    assert gap < 0.5 * spread  # one of 48 neurons is missing in each MLP


def test_gradients_go_straight_through() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0, 0.0], requires_grad=True)
    logit = torch.tensor(0.0, requires_grad=True)
    mask = TopShare.apply(scores, logit)
    assert mask.tolist() == [1, 0, 1, 0]
    upstream = torch.tensor([0.5, -1.0, 2.0, 4.0])
    (mask * upstream).sum().backward()
    assert scores.grad is not None
    assert logit.grad is not None
    assert torch.equal(scores.grad, upstream)
    assert float(logit.grad) == 2.5  # the mask's share of the gradient


def test_base_stays_and_masked_equals_sliced(inputs: torch.Tensor) -> None:
    model, split = make_model("token"), make_split()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = learn_masks(model, split, PREPROCESS, steps=5, decay=0.5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    clean = purified(model, masks)
    with torch.no_grad():
        masked = masked_logits(model, masks, inputs)
        torch.testing.assert_close(clean(inputs), masked, atol=1e-5, rtol=1e-5)
        for i in range(len(clean.blocks)):  # cut the zeroed neurons out
            kept, mlp = masks[2 * i + 1].binary().bool(), mlp_of(clean, i)
            mlp.fc1.weight = torch.nn.Parameter(mlp.fc1.weight[kept])
            mlp.fc1.bias = torch.nn.Parameter(mlp.fc1.bias[kept])
            mlp.fc2.weight = torch.nn.Parameter(mlp.fc2.weight[:, kept])
        torch.testing.assert_close(clean(inputs), masked, atol=1e-5, rtol=1e-5)


def test_decay_pulls_neurons_out_and_learning_keeps_the_task() -> None:
    model, split = make_model("avg"), make_split()
    rates = {}
    for decay in (0.0, 1.0):
        masks = learn_masks(model, split, PREPROCESS, steps=15, decay=decay)
        rates[decay] = sum(float(m.binary().detach().mean()) for m in masks.values())
        again = learn_masks(model, split, PREPROCESS, steps=15, decay=decay)
        assert all(torch.equal(masks[i].scores, again[i].scores) for i in masks)
    assert rates[1.0] < rates[0.0]


def test_purified_neurons_go_first() -> None:
    model, split = make_model("avg"), make_split()
    options = DeriveOptions(num_images=60, sensitivity_images=0, purify_steps=10, purify_decay=1.0)
    deriver = Deriver(model, split, PREPROCESS, options=options)
    plan = deriver.prepare()
    for branch, solver in plan.neurons.items():
        writer = mlp_of(plan.model, branch // 2).fc2.weight
        gone = (writer.abs().sum(dim=0) == 0).nonzero()[:, 0]
        assert len(gone) > 0
        assert set(solver.order[len(solver.order) - len(gone) :].tolist()) == set(gone.tolist())
    inputs = normalise(split.images[:8], PREPROCESS)
    cut = deriver.derive(with_blocks(model.arch, mlp_width=40))
    assert torch.isfinite(cut(inputs)).all()
    unpurified = Deriver(model, split, PREPROCESS, options=dataclasses.replace(options, purify_steps=0))
    assert not torch.equal(unpurified.derive(model.arch)(inputs), deriver.derive(model.arch)(inputs))


def test_open_set_score_is_the_energy_and_ranks_strangers_higher() -> None:
    known = torch.tensor([[9.0, 0.0, 0.0], [0.0, 8.0, 1.0]])
    stranger = torch.tensor([[0.5, 0.4, 0.6]])
    assert float(open_set_score(known)[0]) == pytest.approx(-float(known[0].exp().sum().log()))
    assert open_set_score(stranger) > open_set_score(known).max()
    scaled = open_set_score(known, temperature=2.0)
    torch.testing.assert_close(scaled, -2 * (known / 2).exp().sum(dim=1).log())
    scores = torch.arange(100.0)
    threshold = open_set_threshold(scores, accept=0.9)
    assert float((scores <= threshold).double().mean()) == pytest.approx(0.9, abs=0.011)
