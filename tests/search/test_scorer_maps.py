"""Scores and changed logits where every patch has an answer."""

import numpy as np
import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.library import build_library
from nuwa_search.search.linear_changes import is_linearised
from nuwa_search.search.precision import scoring_context
from nuwa_search.search.scorer import PATCH_SAMPLE, TeacherScorer
from nuwa_search.search.space import space_from_base

ARCH = Arch((BlockSpec(2, 8, 8, 16),) * 2, 16, 3, 48, 6, global_pool="patches")
SHOWN = Preprocess(48)


class Slicer:
    """Gives any arch its own random weights but for the stem: what is derived does not matter here."""

    def __init__(self, teacher: PlainViT) -> None:
        self._teacher = teacher

    def derive(self, arch: Arch) -> PlainViT:
        torch.manual_seed(len(arch.arch_id))
        model = PlainViT(arch)
        own = model.state_dict()
        model.load_state_dict({k: v if v.shape == own[k].shape else own[k] for k, v in _known(self._teacher, own)})
        return model.eval()


def _known(teacher: PlainViT, own: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    theirs = teacher.state_dict()
    return [(name, theirs.get(name, value)) for name, value in own.items()]


@pytest.fixture(scope="module")
def teacher() -> PlainViT:
    model = PlainViT(ARCH)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.3 * torch.randn(values.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def scorer(teacher: PlainViT) -> TeacherScorer:
    images = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(5, 48, 48, dtype=torch.uint8)
    return TeacherScorer(teacher, SplitTensors(images, torch.arange(5) % 3, masks=masks), SHOWN, metric="miou")


def test_an_image_scores_the_mean_over_its_patches(teacher: PlainViT, scorer: TeacherScorer) -> None:
    with torch.no_grad():
        assert scorer.score_logits(teacher(scorer.inputs)).kl == pytest.approx(0, abs=1e-9)
    other = Slicer(teacher).derive(ARCH)
    with torch.no_grad():
        other.head.bias.add_(torch.tensor([0.5, 0.0, -0.5]))
        wanted = teacher(scorer.inputs).double().log_softmax(dim=1)
        logits = other(scorer.inputs)
        found = logits.double().log_softmax(dim=1)
    score = scorer.score_logits(logits)
    by_image = (wanted.exp() * (wanted - found)).sum(dim=1).mean(dim=(1, 2))
    assert score.kls == pytest.approx(by_image.tolist(), rel=1e-4)
    assert score.top1 is None


def test_rows_are_the_same_patches_of_everything(teacher: PlainViT, scorer: TeacherScorer) -> None:
    count = 3
    places = torch.arange(64).view(1, 1, 8, 8).expand(5, 3, -1, -1) + 100 * torch.arange(5).view(5, 1, 1, 1)
    rows = scorer.rows(places[:count].float())
    assert rows.shape == (count * PATCH_SAMPLE, 3)
    by_image = rows[:, 0].view(count, PATCH_SAMPLE)
    for image, drawn in enumerate(by_image.tolist()):
        assert len(set(drawn)) == PATCH_SAMPLE
        assert {int(place) // 100 for place in drawn} == {image}
    assert torch.equal(rows, scorer.rows(places.float())[: count * PATCH_SAMPLE])
    assert scorer.row_weights(count).tolist() == [1.0] * len(rows)


def test_a_library_keeps_the_changes_of_the_drawn_patches(teacher: PlainViT, scorer: TeacherScorer) -> None:
    assert not is_linearised(ARCH)
    space = space_from_base(ARCH)
    slicer = Slicer(teacher)
    library = build_library(space, deriver=slicer, scorer=scorer, teacher=teacher)
    with torch.inference_mode(), scoring_context():
        own = teacher(scorer.inputs).float()
        for row in library.rows[:6]:
            moved = slicer.derive(row.arch)(scorer.inputs).float() - own
            wanted = scorer.rows(moved - moved.mean(dim=1, keepdim=True))
            assert row.change is not None
            assert np.allclose(row.change.numpy(), wanted.numpy(), atol=1e-4)
