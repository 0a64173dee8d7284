"""The image's size as a dimension of the search: spaces, single changes, derivation, scores."""

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.predictors.accuracy import ChangeModel, prior_from_library, singles_from_library
from nuwa_search.predictors.accuracy.features import Featuriser
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.library import build_library, library_archs
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.seeds import num_different_blocks
from nuwa_search.search.space import SearchSpace, space_from_base
from tests.support.derive_models import PREPROCESS, make_model, make_split

SMALL = 12
TINY = Arch((BlockSpec(1, 8, 8, 16), BlockSpec(2, 8, 8, 16)), 16, num_classes=3, img_size=16, patch_size=4)


def at_size(split: SplitTensors, size: ImgSize) -> SplitTensors:
    """The same pictures smaller, by averaging: 16 to 12 or 8 pixels."""
    small = F.interpolate(split.images.float(), size=size, mode="area").round().to(torch.uint8)
    return SplitTensors(small, split.labels)


Toy = tuple[PlainViT, SplitTensors, Deriver]


@pytest.fixture(scope="module")
def toy() -> Toy:
    model, split = make_model("layer_scale"), make_split(40)
    return model, split, Deriver(model, split, PREPROCESS, train_at=lambda size: at_size(split, size))


def test_a_space_of_sizes_holds_every_arch_at_each() -> None:
    plain = space_from_base(TINY, mlp_steps=2, dim_steps=1)
    space = space_from_base(TINY, mlp_steps=2, dim_steps=1, img_sizes=(8, 12))
    archs = list(space.enumerate())
    assert space.sizes == (8, 12, 16)
    assert len(archs) == len(set(archs)) == space.size == 3 * plain.size
    assert {arch.img_size for arch in archs} == {8, 12, 16}
    for arch in archs[:: len(archs) // 20]:
        assert space.contains(arch)
        assert space.arch_from_genome(space.genome_from_arch(arch)) == arch
        assert space.arch_from_params(space.params_from_arch(arch)) == arch
    assert "img_size" not in plain.params
    assert space.params["img_size"] == (8, 12, 16)
    assert not plain.contains(dataclasses.replace(TINY, img_size=8))
    assert num_different_blocks(TINY, dataclasses.replace(TINY, img_size=8)) == 1


def test_the_base_at_its_own_size_has_the_id_it_always_had() -> None:
    space = space_from_base(TINY, img_sizes=(8,))
    assert space.make(TINY.blocks).arch_id == TINY.arch_id
    assert space.make(TINY.blocks, img_size=8).arch_id != TINY.arch_id


@pytest.mark.parametrize("sizes", [(16, 12), (12,), (10, 16), (12, 20)])
def test_sizes_that_are_no_choice_are_refused(sizes: tuple[int, ...]) -> None:
    plain = space_from_base(TINY)
    with pytest.raises(NuwaError, match="image sizes must ascend to the base's 16 in multiples of its patch of 4"):
        SearchSpace(TINY, plain.blocks, plain.embed_dims, img_sizes=sizes)


def test_the_uncut_base_at_each_size_is_a_single_change() -> None:
    space = space_from_base(TINY, img_sizes=(8, 12))
    sized = [arch for arch in library_archs(space) if arch.img_size != 16]
    assert sized == [dataclasses.replace(TINY, img_size=size) for size in (8, 12)]
    archs = library_archs(space)
    kls = np.linspace(0.1, 0.5, len(archs)).tolist()
    prior = prior_from_library(TINY, archs, kls)
    assert prior.sizes == {size: kls[archs.index(dataclasses.replace(TINY, img_size=size))] for size in (8, 12)}
    cut = archs[0]
    both = dataclasses.replace(cut, img_size=12)
    assert prior.additive(both) == pytest.approx(prior.additive(cut) + prior.sizes[12])
    roots = Featuriser(prior).branch_roots([cut, both])
    assert roots.shape == (2, 6)
    np.testing.assert_allclose(roots[:, -1] ** 2, [0, prior.sizes[12]])
    with pytest.raises(NuwaError, match="changes 2 places"):
        prior_from_library(TINY, [both], [0.1])


def test_logits_of_a_smaller_cut_net_are_predicted_by_adding_both_changes() -> None:
    rng = np.random.default_rng(0)
    cut = dataclasses.replace(TINY, blocks=(TINY.blocks[0], EMPTY_BLOCK))
    small = dataclasses.replace(TINY, img_size=8)
    changes = [rng.standard_normal((5, 3)).astype(np.float32) for _ in range(2)]
    base = np.log(rng.dirichlet(np.ones(3), 5)).astype(np.float32)
    model = ChangeModel(singles_from_library(TINY, [cut, small], changes), base)
    both = dataclasses.replace(cut, img_size=8)
    np.testing.assert_allclose(model.logits([both])[0], base + changes[0] + changes[1], rtol=1e-6)
    run = rng.standard_normal((5, 3)).astype(np.float32)
    model.add(small, run, {})
    np.testing.assert_allclose(model.logits([both])[0], run + changes[0], rtol=1e-5)


def test_a_smaller_net_has_the_weights_of_the_own_size_and_resampled_positions(toy: Toy) -> None:
    model, _, deriver = toy
    arch = dataclasses.replace(model.arch, blocks=(BlockSpec(2, 8, 8, 24), EMPTY_BLOCK, model.arch.blocks[2]))
    own, small = deriver.derive(arch), deriver.derive(dataclasses.replace(arch, img_size=SMALL))
    mine, theirs = small.state_dict(), vit_at_size(own, SMALL, name="own").state_dict()
    assert small.arch == dataclasses.replace(own.arch, img_size=SMALL)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if name != "head.bias")


def test_the_uncut_base_at_a_smaller_size_has_the_mean_logits_of_its_own(toy: Toy) -> None:
    model, split, deriver = toy
    small = deriver.derive(dataclasses.replace(model.arch, img_size=SMALL))
    with torch.no_grad():
        mine = small(normalise(at_size(split, SMALL).images, PREPROCESS)).mean(dim=0)
        theirs = model(normalise(split.images, PREPROCESS)).mean(dim=0)
    torch.testing.assert_close(mine, theirs, atol=0.05, rtol=0.02)  # the logits are taken in bf16 where there is any


def test_refining_at_a_smaller_size_aims_the_head_at_the_full_size_teacher(toy: Toy) -> None:
    model, split, deriver = toy
    arch = dataclasses.replace(model.arch, blocks=(BlockSpec(2, 8, 8, 24), *model.arch.blocks[1:]), img_size=SMALL)
    images = normalise(at_size(split, SMALL).images, PREPROCESS)
    with torch.no_grad():
        wanted = F.log_softmax(model(normalise(split.images, PREPROCESS)), dim=1)
        kls = [
            float((wanted.exp() * (wanted - F.log_softmax(net(images), dim=1))).sum(dim=1).mean())
            for net in (deriver.derive(arch), deriver.derive_refined(arch))
        ]
    assert kls[1] < 0.7 * kls[0]


def test_refining_at_another_size_needs_the_images_at_that_size(toy: Toy) -> None:
    model, split, _ = toy
    small = dataclasses.replace(model.arch, blocks=(EMPTY_BLOCK, *model.arch.blocks[1:]), img_size=SMALL)
    with pytest.raises(NuwaError, match="refined on the training images at that size"):
        Deriver(model, split, PREPROCESS).derive_refined(small)
    shuffled = SplitTensors(at_size(split, SMALL).images, split.labels.flip(0))
    with pytest.raises(NuwaError, match="refined on the training images at that size"):
        Deriver(model, split, PREPROCESS, train_at=lambda _: shuffled).derive_refined(small)


def test_a_deriver_in_another_process_cuts_smaller_nets_alike(toy: Toy) -> None:
    model, _, deriver = toy
    arch = dataclasses.replace(model.arch, img_size=SMALL)
    here = deriver.derive(arch).state_dict()
    there = pickle.loads(pickle.dumps(deriver)).derive(arch).state_dict()
    assert all(torch.equal(here[name], there[name]) for name in here)


def test_each_net_is_scored_on_the_images_of_its_size_against_the_full_size_teacher(toy: Toy) -> None:
    model, split, deriver = toy
    scorer = TeacherScorer(model, split, PREPROCESS, num_images=20, others=[at_size(split, SMALL)])
    small = deriver.derive(dataclasses.replace(model.arch, img_size=SMALL))
    with torch.no_grad():
        rows = F.log_softmax(small(scorer.inputs_at(SMALL)), dim=1).double()
    wanted = scorer.log_targets.double()
    kl = float((wanted.exp() * (wanted - rows)).sum(dim=1).mean())
    assert scorer.inputs_at(SMALL).shape[-1] == SMALL
    assert scorer.score(small).kl == pytest.approx(kl, rel=0.05)
    with pytest.raises(NuwaError, match="takes images of 8 pixels, and the scorer has them at 12, 16"):
        scorer.inputs_at(8)
    others = [SplitTensors(at_size(split, SMALL).images, split.labels.flip(0))]
    with pytest.raises(ValueError, match="in its order"):
        TeacherScorer(model, split, PREPROCESS, others=others)


def test_the_library_prices_sizes_by_the_base_at_them(toy: Toy) -> None:
    model, split, deriver = toy
    space = dataclasses.replace(space_from_base(model.arch), img_sizes=(SMALL, 16))
    scorer = TeacherScorer(model, split, PREPROCESS, num_images=20, others=[at_size(split, SMALL)])
    library = build_library(space, deriver=deriver, scorer=scorer, teacher=model)
    last = library.rows[-1]
    assert last.arch == dataclasses.replace(model.arch, img_size=SMALL)
    assert last.score.kl == pytest.approx(scorer.score(deriver.derive(last.arch)).kl, rel=1e-3)
    assert sum(row.arch.img_size != 16 for row in itertools.islice(library.rows, len(library.rows) - 1)) == 0
