import itertools
from pathlib import Path

import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.predictors.accuracy import prior_from_library
from nuwa_search.predictors.accuracy.prior import AdditivePrior
from nuwa_search.search.explain import explain
from nuwa_search.search.feasible import Limits
from nuwa_search.search.front import front_indices, hypervolume
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.library import Library, LibraryRow, library_archs
from nuwa_search.search.picture import draw_front
from nuwa_search.search.run import run_study, summarise
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.seeds import additive_fronts
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyConfig, StudyResult
from tests.support.search_fakes import (
    CountingLatency,
    EmptyDeriver,
    KlOf,
    MakeSpace,
    SyntheticScorer,
    best_of,
    scored_kl,
)

Setting = tuple[SearchSpace, AdditivePrior, StudyResult]


@pytest.fixture
def setting(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
    kl_of: KlOf,
) -> Setting:
    space = make_space(4)
    archs = library_archs(space)
    library = Library(space.base, tuple(LibraryRow(a, SubnetScore(kl_of(a, space.base), 0, 0, 1)) for a in archs))
    prior = prior_from_library(space.base, library.archs, library.kls)
    result = run_study(
        space, deriver=make_deriver(), scorer=make_scorer(space.base), limits=Limits(latency, 2.8),
        config=StudyConfig(trials=25), guidance=Guidance(library),
    )  # fmt: skip
    return space, prior, result


def test_every_cut_is_named_with_what_restoring_it_would_cost(setting: Setting, latency: CountingLatency) -> None:
    space, prior, result = setting
    found = explain(result, space=space, prior=prior, latency=latency, budget_ms=2.8)
    places = {cut.place for cut in found.cuts}
    wanted = set()
    for i, (mine, full) in enumerate(zip(best_of(result).arch.blocks, space.base.blocks, strict=True)):
        wanted |= {f"block{i:02d}.attn"} if mine.has_attn != full.has_attn else set()
        wanted |= {f"block{i:02d}.mlp"} if mine.mlp_width != full.mlp_width else set()
    assert places == wanted
    assert all(cut.saved_ms > 0 for cut in found.cuts)
    assert [c.saved_ms for c in found.cuts] == sorted((c.saved_ms for c in found.cuts), reverse=True)
    gone = [cut for cut in found.cuts if cut.what == "2 heads -> gone"]
    for cut in gone:
        assert cut.saved_ms == pytest.approx(0.35 + 2e-3 * 32)


def test_less_budget_buys_less_and_more_buys_more(setting: Setting, latency: CountingLatency) -> None:
    space, prior, result = setting
    fronts = additive_fronts(space, prior=prior, latency=latency)
    less, more = explain(result, space=space, prior=prior, latency=latency, budget_ms=2.8, fronts=fronts).other_budgets
    assert (less.budget_ms, more.budget_ms) == pytest.approx((2.52, 3.08))
    assert less.promised_kl is not None
    assert more.promised_kl is not None
    assert less.promised_kl > more.promised_kl
    best_kl = scored_kl(best_of(result))
    assert less.trial is None or scored_kl(less.trial) >= best_kl
    assert more.promised_kl < best_kl


def test_a_study_without_winner_explains_nothing(setting: Setting, latency: CountingLatency) -> None:
    space, prior, result = setting
    empty = summarise("s", result.trials, budget=Limits(latency, 0.1), stopped="trials", seconds=0.0)
    assert empty.best is None
    assert empty.front == ()
    with pytest.raises(NuwaError, match="nothing to explain"):
        explain(empty, space=space, prior=prior, latency=latency, budget_ms=0.1)


def test_the_front_is_drawn(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    _, _, result = setting
    draw_front(result, tmp_path / "front.svg", budget_ms=2.8)
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    figures = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, _: figures.append(figure))
    draw_front(result, tmp_path / "front.svg", budget_ms=2.8)
    below = figures[0].axes[1]
    (bars,) = below.containers
    drawn = [segment[:, 1].tolist() for segment in bars[2][0].get_segments()]
    assert drawn == [
        pytest.approx([100 * e for e in wilson_interval(round(256 * (t.top1_search or 0.0)), 256)])
        for t in result.front
    ]
    assert "front, 95 % of 256 images" in below.get_legend_handles_labels()[1]
    monkeypatch.undo()
    with pytest.raises(NuwaError, match="cannot draw"):
        draw_front(result, tmp_path / "front.nonsense", budget_ms=2.8)


def test_front_and_hypervolume_equal_a_count_of_cells() -> None:
    times, costs = [3, 1, 2, 2, 5, 4], [2, 5, 4, 3, 1, 4]
    assert front_indices(times, costs) == [1, 3, 0, 4]
    cells = sum(
        any(t <= x and c <= y for t, c in zip(times, costs, strict=True))
        for x, y in itertools.product(range(7), range(6))
    )
    assert hypervolume(times, costs, reference=(7, 6)) == cells
    assert hypervolume([9], [9], reference=(7, 6)) == 0
