import dataclasses

import pytest
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.tensors import SplitTensors, features_key
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.scorer import FIRST_IMAGES, NUM_IMAGES, TeacherScorer, spread_evenly
from tests.support.derive_models import make_model, make_split

SMALL = Arch(blocks=(), embed_dim=8, num_classes=5, img_size=2, patch_size=1)
LARGE = dataclasses.replace(SMALL, img_size=224, patch_size=14)


class Table(PlainViT):
    """Logits looked up by the image's first pixel; counts the images it saw."""

    def __init__(self, logits: torch.Tensor, arch: Arch = SMALL) -> None:
        torch.nn.Module.__init__(self)  # the table is the whole net
        self.logits, self.seen, self.arch = logits, 0, arch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return self.logits[(x[:, 0, 0, 0] * 255).round().long()]


PREPROCESS = Preprocess(img_size=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def split_of(count: int, num_classes: int) -> SplitTensors:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return SplitTensors(images, torch.arange(count) % num_classes)


@pytest.fixture
def teacher() -> Table:
    return Table(torch.randn(256, 5, generator=torch.Generator().manual_seed(0)))


def test_kl_is_that_of_the_definition(teacher: Table) -> None:
    student = Table(torch.randn(256, 5, generator=torch.Generator().manual_seed(1)))
    found = TeacherScorer(teacher, split_of(50, 5), PREPROCESS).score(student)
    p, q = teacher.logits[:50].double().softmax(1), student.logits[:50].double().softmax(1)
    assert found.kl == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-5)
    assert found.top1 == pytest.approx(float((student.logits[:50].argmax(1) == torch.arange(50) % 5).double().mean()))
    assert found.num_images == 50


def test_where_balanced_accuracy_counts_the_kl_is_the_mean_over_classes(teacher: Table) -> None:
    student = Table(torch.randn(256, 5, generator=torch.Generator().manual_seed(1)))
    images = split_of(150, 5).images
    labels = (torch.arange(150) % 10 == 0).long()  # fifteen of one class, the others of the other
    scorer = TeacherScorer(teacher, SplitTensors(images, labels), PREPROCESS, metric="balanced")
    found = scorer.score(student)
    p, q = teacher.logits[:150].double().softmax(1), student.logits[:150].double().softmax(1)
    rows = (p * (p / q).log()).sum(1)
    assert found.kl == pytest.approx(float((rows[labels == 0].mean() + rows[labels == 1].mean()) / 2), rel=1e-5)
    assert sum(found.kls) / len(found.kls) == pytest.approx(found.kl)
    assert found.top1 == pytest.approx(float((student.logits[:150].argmax(1) == labels).double().mean()))


def test_the_teacher_itself_scores_zero(teacher: Table) -> None:
    assert TeacherScorer(teacher, split_of(200, 5), PREPROCESS).score(teacher).kl == pytest.approx(0, abs=1e-12)


def test_the_hopeless_are_given_up_after_the_first_images(teacher: Table) -> None:
    scorer = TeacherScorer(teacher, split_of(250, 5), PREPROCESS, num_images=200)
    student = Table(torch.randn(256, 5, generator=torch.Generator().manual_seed(1)))
    whole = scorer.score(student)
    assert whole.num_images == student.seen == 200
    student.seen = 0
    partial = scorer.score(student, give_up_above=whole.kl_first * 0.9)
    assert partial.is_partial
    assert partial.num_images == student.seen == FIRST_IMAGES
    assert partial.kl == pytest.approx(whole.kl_first)
    assert not scorer.score(student, give_up_above=whole.kl_first * 1.1).is_partial


def test_a_net_that_answers_nonsense_is_given_up(teacher: Table) -> None:
    scorer = TeacherScorer(teacher, split_of(250, 5), PREPROCESS, num_images=200)
    assert scorer.score(Table(torch.full((256, 5), float("nan"))), give_up_above=1.0).is_partial


def test_every_prefix_of_the_choice_is_balanced() -> None:
    labels = torch.tensor([0] * 90 + [1] * 40 + [2] * 20)
    picked = labels[spread_evenly(labels, 60, seed=0)]
    for count in (3, 30, 60):
        assert torch.bincount(picked[:count], minlength=3).tolist() == [count // 3] * 3
    assert len(spread_evenly(labels, 1000, seed=0)) == 150
    assert not torch.equal(spread_evenly(labels, 60, seed=0), spread_evenly(labels, 60, seed=1))


def test_an_empty_search_split_is_refused(teacher: Table) -> None:
    with pytest.raises(NuwaError, match="empty"):
        TeacherScorer(teacher, split_of(0, 5), PREPROCESS)


def test_images_of_many_tokens_are_scored_in_smaller_numbers() -> None:
    logits = torch.randn(256, 5, generator=torch.Generator().manual_seed(0))
    small, large = (TeacherScorer(Table(logits, arch), split_of(250, 5), PREPROCESS) for arch in (SMALL, LARGE))
    student = Table(torch.randn(256, 5, generator=torch.Generator().manual_seed(1)))
    assert len(small.inputs) == NUM_IMAGES
    assert torch.equal(large.inputs, small.inputs[: len(large.inputs)])  # the same images first, whatever the number
    assert small.score(student, give_up_above=0.0).num_images == FIRST_IMAGES
    assert large.score(student, give_up_above=0.0).num_images < FIRST_IMAGES


def test_two_scorers_of_the_same_images_run_the_teacher_once(teacher: Table) -> None:
    known = KnownOutputs()
    one = TeacherScorer(teacher, split_of(50, 5), PREPROCESS, known=known)
    other = TeacherScorer(teacher, split_of(50, 5), PREPROCESS, known=known)
    assert teacher.seen == 50
    assert torch.equal(one.log_targets, other.log_targets)
    TeacherScorer(teacher, split_of(40, 5), PREPROCESS, known=known)
    assert teacher.seen == 90


def test_targets_come_from_the_features_that_the_head_was_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    net, known = make_model("token"), KnownOutputs()
    search = make_split(50)
    features = torch.randn(50, net.arch.head_in_features, generator=torch.Generator().manual_seed(4))
    known.put(features_key(net, search), features)
    monkeypatch.setattr(net, "embed", None)  # fails when an image is run
    scorer = TeacherScorer(net, search, Preprocess(img_size=16), num_images=20, known=known)
    with torch.no_grad():
        wanted = net.answer(features[spread_evenly(search.labels, 20, seed=0)]).log_softmax(dim=1)
    assert torch.equal(scorer.log_targets, wanted)
