import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.vit import PlainViT
from nuwa_search.search import library as library_module
from nuwa_search.search import linear_changes
from nuwa_search.search import scorer as scorer_module
from nuwa_search.search.library import Library, build_library, library_archs, order_error
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base
from nuwa_search.search.streams import Streams
from tests.support.sliced_vit import BASE, SlicingDeriver, make_scorer, make_teacher


@pytest.fixture(scope="module")
def teacher() -> PlainViT:
    return make_teacher()


@pytest.fixture(scope="module")
def scorer(teacher: PlainViT) -> TeacherScorer:
    return make_scorer(teacher)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return space_from_base(BASE, mlp_steps=4, dim_steps=2)


@pytest.fixture
def really_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the nets where their gradients would be taken: those have tests of their own."""
    for module in (library_module, linear_changes):
        monkeypatch.setattr(module, "is_linearised", lambda arch: False)


def test_every_row_changes_one_block_of_the_base(space: SearchSpace) -> None:
    archs = library_archs(space)
    assert len(archs) == len(set(archs))
    for arch in archs:
        assert space.contains(arch)
        assert sum(a != b for a, b in zip(arch.blocks, BASE.blocks, strict=True)) == 1
    first = {arch.blocks[0] for arch in archs}
    for spec in (BlockSpec(0, 0, 0, 0), BlockSpec(0, 0, 0, 64), BlockSpec(2, 16, 16, 0), BlockSpec(1, 16, 16, 64)):
        assert spec in first
    assert BlockSpec(2, 8, 16, 64) in first
    assert BlockSpec(2, 16, 8, 64) in first


@pytest.mark.usefixtures("really_run")
@pytest.mark.parametrize("touch_stem", [False, True])
def test_reusing_the_stream_changes_no_score(
    space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer, touch_stem: bool
) -> None:
    deriver = SlicingDeriver(teacher, touch_stem=touch_stem)
    library = build_library(space, deriver=deriver, scorer=scorer, teacher=teacher)
    assert library.archs == library_archs(space)
    for row in library.rows:
        whole = scorer.score(deriver.derive(row.arch))
        assert row.score.kl == pytest.approx(whole.kl, rel=1e-4, abs=1e-7)
        assert row.score.num_images == whole.num_images == 24


@pytest.mark.usefixtures("really_run")
def test_blocks_before_the_change_are_not_run_again(
    space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    for i, block in enumerate(teacher.blocks):
        monkeypatch.setattr(block, "forward", _counted(block.forward, calls, i))
    build_library(space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher)
    assert calls[:2] == [0, 1]  # the teacher's stream is moved forward once, block by block
    assert calls[2:] == [0, 1, 2]  # and the teacher is run whole once, for what changes are taken from


def test_streams_are_found_again_after_going_back(teacher: PlainViT, scorer: TeacherScorer) -> None:
    streams = Streams(teacher, scorer.inputs)
    deriver = SlicingDeriver(teacher)
    for i in (2, 1, 2, 0, 2, 0):
        blocks = [BlockSpec(2, 16, 16, 32) if k == i else full for k, full in enumerate(BASE.blocks)]
        model = deriver.derive(dataclasses.replace(BASE, blocks=tuple(blocks)))
        with torch.inference_mode():
            assert torch.allclose(streams.run(model), model(scorer.inputs), atol=1e-5)


def _counted(
    forward: Callable[[torch.Tensor], torch.Tensor], calls: list[int], i: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    def run(x: torch.Tensor) -> torch.Tensor:
        calls.append(i)
        return forward(x)

    return run


def test_rows_by_gradients_are_in_order_and_near_those_really_run(
    space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = build_library(space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher)
    assert found.archs == library_archs(space)
    for module in (library_module, linear_changes):
        monkeypatch.setattr(module, "is_linearised", lambda arch: False)
    run = build_library(space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher)
    assert stats.kendalltau(found.kls, run.kls).statistic > 0.8
    of_last = [
        k for k, arch in enumerate(run.archs) if arch.blocks[:2] == BASE.blocks[:2] and not arch.blocks[2].has_mlp
    ]
    assert of_last
    for k in of_last:  # what differs up to the last branch is exact but for rounding
        assert found.kls[k] == pytest.approx(run.kls[k], rel=0.05, abs=1e-4)


def test_a_stopped_library_is_short_and_usable(space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer) -> None:
    seen = []
    library = build_library(
        space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher,
        on_row=lambda done, total: seen.append((done, total)), should_stop=lambda: len(seen) >= 4,
    )  # fmt: skip
    assert library.archs == library_archs(space)[-4:]  # the last blocks come first
    assert seen[-1] == (4, len(library_archs(space)))


@pytest.mark.usefixtures("really_run")
def test_images_are_added_until_the_order_of_the_cuts_is_sure(
    space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "scoring_context", contextlib.nullcontext)  # rounding is not the matter here
    monkeypatch.setattr(scorer_module, "scoring_context", contextlib.nullcontext)
    deriver = SlicingDeriver(teacher)

    def images_at(error: float) -> tuple[int, Library]:
        monkeypatch.setattr(library_module, "ORDER_ERROR", error)
        made = build_library(space, deriver=deriver, scorer=scorer, teacher=teacher, first_images=8)
        assert len({row.score.num_images for row in made.rows}) == 1
        return made.rows[0].score.num_images, made

    assert images_at(1.0)[0] == 8
    num_images, whole = images_at(-1.0)
    assert num_images == 24
    for row in whole.rows[:4]:  # scored in three parts as in one
        assert row.score.kl == pytest.approx(scorer.score(deriver.derive(row.arch)).kl, rel=1e-4, abs=1e-7)
        assert row.change is not None
        again = scorer.score_logits(scorer.log_targets + row.change)  # the change says all that the score says
        assert again.kl == pytest.approx(row.score.kl, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(("is_linear", "first"), [(True, 12), (False, 4)])
def test_where_little_is_run_cuts_are_derived_for_more_images_at_once(
    space: SearchSpace,
    teacher: PlainViT,
    scorer: TeacherScorer,
    monkeypatch: pytest.MonkeyPatch,
    is_linear: bool,
    first: int,
) -> None:
    monkeypatch.setattr(library_module, "is_small", lambda arch: False)
    monkeypatch.setattr(library_module, "is_linearised", lambda arch: is_linear)
    monkeypatch.setattr(library_module, "LINEAR_IMAGES", 12)
    monkeypatch.setattr(library_module, "FIRST_IMAGES", 4)
    monkeypatch.setattr(library_module, "ORDER_ERROR", 1.0)
    library = build_library(space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher)
    assert {row.score.num_images for row in library.rows} == {first}


def test_a_library_out_of_time_keeps_all_rows_on_fewer_images(
    space: SearchSpace, teacher: PlainViT, scorer: TeacherScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "ORDER_ERROR", -1.0)
    calls: list[int] = []
    num_rows = len(library_archs(space))
    library = build_library(
        space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher, first_images=8,
        on_row=lambda *_: calls.append(1), should_stop=lambda: len(calls) >= num_rows + 2,
    )  # fmt: skip
    assert len(library.rows) == num_rows
    assert {row.score.num_images for row in library.rows} == {8}


def test_the_order_is_as_unsure_as_images_differ() -> None:
    apart = np.arange(1.0, 7.0)[:, None] * np.ones((6, 16))
    assert order_error(apart) == pytest.approx(0, abs=1e-12)
    noise = np.random.default_rng(0).standard_normal((6, 16))
    assert order_error(noise) > 0.1
    assert order_error(noise[:1]) == 0
