"""Sub-models, their teacher and their fusion: closed forms, and a toy task that is learned."""

import dataclasses
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from nuwa_search.core.heads import fit_head
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.search.collaborate.ensemble import (
    Ensemble,
    draw_mask,
    fit_fusion,
    fusion_inputs,
    fusion_of,
    vectors_of,
)
from nuwa_search.search.collaborate.ensemble_job import train_ensemble
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import DecomposeRun
from nuwa_search.search.collaborate.subtask import SubtaskRun, distil_subtask
from nuwa_search.search.collaborate.train_parts import begin_ensemble, fused_score
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.inputs import Inputs
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit


def images(num: int = 6) -> torch.Tensor:
    return normalise(make_split(num).images, PREPROCESS)


def ensemble_of(*members: PlainViT, width: int = 16) -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(members, width=width).eval()


def test_a_sub_model_is_taught_all_classes_with_relations_across_widths() -> None:
    data = TaskTensors(make_split(96), make_split(48, seed=9), PREPROCESS)
    student = make_vit(seed=1, depth=1, num_heads=1, embed_dim=8)
    of_two = data.train.take(torch.nonzero(data.train.labels < 2)[:, 0])
    with_head_of_two = fit_head(student, of_two, PREPROCESS, num_classes=2)
    steps = dataclasses.replace(CONFIG, steps=2, eval_every=2)
    tuned = distil_subtask(with_head_of_two, data, base=make_vit(seed=2), run=SubtaskRun(steps))
    assert tuned(images()).shape == (6, 3)  # a head of its own two was given: it is fitted anew


def test_one_member_with_the_identity_map_is_that_member() -> None:
    member = make_vit(seed=3)
    ensemble = ensemble_of(member, width=member.arch.head_in_features)
    identity = torch.cat([torch.eye(ensemble.width), torch.zeros(1, ensemble.width)])
    ensemble.begin_as(identity, torch.zeros(ensemble.width), head=member.head)
    assert torch.allclose(ensemble(images()).fused, member(images()), atol=1e-5)


def test_the_closed_form_begins_at_the_teacher_where_a_member_is_the_teacher() -> None:
    """The linear map of DeViT is found by regression: the vectors hold the teacher's features, so nothing is left."""
    base, other = make_vit(seed=2), make_vit(seed=5)
    split = make_split(400)
    vectors = vectors_of([base, other], split.images, PREPROCESS)
    weight, bias = fit_fusion(vectors, vectors[0], seed=0)
    ensemble = ensemble_of(base, other, width=base.arch.head_in_features)
    ensemble.begin_as(weight, bias, head=base.head)
    agreed = ensemble(images(60)).fused.argmax(dim=1) == base(images(60)).argmax(dim=1)
    assert agreed.double().mean() > 0.9


def test_what_fuses_better_is_what_an_ensemble_begins_with() -> None:
    """Nets whose features are all zero fuse to one class for every image; the base itself, to what it answers."""
    train, search = make_split(90), make_split(30, seed=9)
    base = fit_head(make_vit(seed=2), train, PREPROCESS, num_classes=3)
    dead = make_vit(seed=5)
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    few = TaskTensors(train, search, PREPROCESS)
    said: list[str] = []
    request = DecomposeRequest(devices=("jetson-nano",) * 2, budget_ms=6.0)
    run = cast(DecomposeRun, SimpleNamespace(request=request, hooks=Hooks(step=said.append)))
    inputs = cast(Inputs, SimpleNamespace(tensors=few, teacher=SimpleNamespace(model=base, has_fitted_head=False)))
    for parts, searched in (([dead], [base]), ([base], [dead])):
        assert fused_score(begin_ensemble(run, inputs, parts, searched=searched), few).accuracy > 0.6
    assert said[0] == "fused in closed form: 33.3 % of the search split as distilled"
    assert fused_score(begin_ensemble(run, inputs, [dead]), few).accuracy == pytest.approx(1 / 3)


def test_a_fitted_fusion_beats_the_largest_answer_of_experts_that_are_sure_of_what_they_do_not_know() -> None:
    """Each expert answers its two classes rightly with 1 and 0, and other images' with anything from 2 to 4."""
    labels = torch.arange(400) % 4
    noise = 2 + 2 * torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    experts = []
    for first in (0, 2):
        is_own = (labels // 2 == first // 2)[:, None]
        rightly = torch.nn.functional.one_hot((labels - first).clamp(0, 1), 2)
        experts.append(torch.cat([torch.where(is_own, rightly, noise), is_own.float()], dim=1))
    largest = torch.cat([vector[:, :2] for vector in experts], dim=1).argmax(dim=1)
    assert not (largest == labels).any(), "who knows nothing is the surest"
    half = [vector[:200] for vector in experts]
    weight, bias = fit_fusion(half, torch.nn.functional.one_hot(labels[:200], 4), seed=0)
    fused = (fusion_inputs([vector[200:] for vector in experts]) @ weight + bias).argmax(dim=1)
    assert (fused == labels[200:]).double().mean() > 0.9


def test_numpy_fuses_as_torch_does_with_any_boards_missing() -> None:
    ensemble = ensemble_of(make_vit(seed=1, embed_dim=8), make_vit(seed=2), make_vit(seed=3, embed_dim=32))
    fusion = fusion_of(ensemble)
    mask = draw_mask(40, 3, seed=0, stream="test")
    found = ensemble(images(40), mask)
    vectors = [v.numpy() for v in vectors_of(ensemble.vits, make_split(40).images, PREPROCESS)]
    fused = fusion.fuse_all(vectors, present=mask.numpy().astype(bool))
    assert np.allclose(fused, found.fused.detach().numpy(), atol=1e-4)
    for place, own in enumerate(found.own):
        assert np.allclose(fusion.alone(place, vectors[place]), own.detach().numpy(), atol=1e-4)


def test_boards_are_missing_from_half_of_the_images_and_never_all() -> None:
    mask = draw_mask(4000, 3, seed=1, stream="boards")
    assert mask.sum(dim=1).min() >= 1
    assert float((mask.sum(dim=1) == 3).double().mean()) == pytest.approx(0.5 + 0.5 * 0.25, abs=0.03)
    assert torch.equal(mask, draw_mask(4000, 3, seed=1, stream="boards"))


def test_training_together_never_ends_worse_and_moves_every_part() -> None:
    data = TaskTensors(make_split(96), make_split(48, seed=9), PREPROCESS)
    ensemble = ensemble_of(make_vit(seed=1), make_vit(seed=4))
    before = {name: value.clone() for name, value in ensemble.state_dict().items()}
    start = float(
        (ensemble(normalise(data.search.images, PREPROCESS)).fused.argmax(dim=1) == data.search.labels).double().mean()
    )
    config = dataclasses.replace(CONFIG, steps=30, eval_every=10, lr=5e-3)
    score = train_ensemble(ensemble, data, teacher=Teacher(make_vit(seed=2)), run=SubtaskRun(config))
    assert score.accuracy >= start
    again = ensemble(normalise(data.search.images, PREPROCESS)).fused.argmax(dim=1) == data.search.labels
    assert float(again.double().mean()) == pytest.approx(score.accuracy)
    moved = {
        name.split(".")[0] for name, value in ensemble.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"members", "fuse_in", "fuse_out"}
