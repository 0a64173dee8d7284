import dataclasses

import numpy as np
import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.feasible import Limits
from nuwa_search.search.finalists import NUM_FINALISTS, pick_finalists, rank_finalists, refiner_of
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import Scorer, SubnetDeriver, SubnetScore
from nuwa_search.search.seeds import num_different_blocks
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyConfig, StudyResult, TrialReport
from tests.support.search_fakes import (
    CountingLatency,
    EmptyDeriver,
    MakeSpace,
    SyntheticScorer,
    asked_of,
    scored_kl,
    tiny_base,
)


def study_of(
    space: SearchSpace, deriver: SubnetDeriver, scorer: Scorer, latency: CountingLatency, trials: int = 25
) -> StudyResult:
    return run_study(
        space, deriver=deriver, scorer=scorer, limits=Limits(latency, 2.8), config=StudyConfig(trials=trials)
    )


@pytest.fixture
def result(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> StudyResult:
    space = make_space(4)
    return study_of(space, make_deriver(), make_scorer(space.base), latency)


def test_the_best_is_among_them_and_they_differ(result: StudyResult) -> None:
    picked = pick_finalists(result)
    assert len(picked) == NUM_FINALISTS
    assert picked[0] == result.best
    assert [t.kl for t in picked] == sorted(map(scored_kl, picked))
    best = sorted(result.fitting, key=scored_kl)[:NUM_FINALISTS]
    spread = sum(num_different_blocks(a.arch, b.arch) for a in picked for b in picked)
    assert spread >= sum(num_different_blocks(a.arch, b.arch) for a in best for b in best)


def test_none_is_far_behind_the_best(result: StudyResult) -> None:
    best, near, *others = sorted(result.fitting, key=scored_kl)
    kls = {best.number: 0.1, near.number: 0.2}
    fitting = tuple(dataclasses.replace(trial, kl=kls.get(trial.number, 0.21)) for trial in result.fitting)
    picked = pick_finalists(dataclasses.replace(result, fitting=fitting))
    assert others
    assert [trial.number for trial in picked] == [best.number, near.number]


def test_rounding_below_zero_leaves_the_best_and_its_like(result: StudyResult) -> None:
    best, near, far = sorted(result.fitting, key=scored_kl)[:3]
    fitting = tuple(dataclasses.replace(t, kl=kl) for t, kl in ((best, -1e-8), (near, 0.01), (far, 0.03)))
    picked = pick_finalists(dataclasses.replace(result, fitting=fitting))
    assert [trial.number for trial in picked] == [best.number, near.number]


def test_the_least_refined_kl_wins_and_nothing_is_refined_twice(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> None:
    space = make_space(4)
    result = study_of(space, make_deriver(), make_scorer(space.base), latency)
    trials = pick_finalists(result)
    best = trials[-1].arch

    class Turned:
        """Refining helps the last finalist the most."""

        def __init__(self) -> None:
            self.scored: list[Arch] = []

        def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
            self.scored.append(asked_of(model))
            inner = make_scorer(space.base).score(model)
            return dataclasses.replace(inner, kl=0.0) if asked_of(model) == best else inner

    scorer = Turned()
    known: dict[Arch, SubnetScore] = {}
    ranked = rank_finalists(trials, refiner=make_deriver(), scorer=scorer, known=known)
    assert ranked[0].trial.arch == best
    again = rank_finalists(trials, refiner=make_deriver(), scorer=scorer, known=known)
    assert again == ranked
    assert len(scorer.scored) == len(trials)


def test_without_time_the_first_is_refined_alone(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> None:
    space = make_space(4)
    trials = pick_finalists(study_of(space, make_deriver(), make_scorer(space.base), latency))
    ranked = rank_finalists(trials, refiner=make_deriver(), scorer=make_scorer(space.base), should_stop=lambda: True)
    assert [f.trial for f in ranked] == trials[:1]


def test_a_quick_refiner_asks_the_deriver_itself_for_fewer_images() -> None:
    asked: list[tuple[Arch, int | None]] = []

    class Fake(Deriver):
        def __init__(self) -> None:
            """Nothing is prepared: the one method that is asked is below."""

        def derive_refined(self, arch: Arch, *, max_images: int | None = None) -> PlainViT:
            asked.append((arch, max_images))
            return net

    arch = tiny_base()
    net = PlainViT(arch)
    assert refiner_of(Fake()).derive(arch) is net
    assert asked == [(arch, 256)]


def test_the_faster_of_two_equals_wins_and_a_real_difference_is_not_one(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> None:
    """Finalists take 2.8, 2.7, … ms; the first has the least KL, by one part in a thousand, or by half."""
    space = make_space(4)
    trials = pick_finalists(study_of(space, make_deriver(), make_scorer(space.base), latency))
    trials = [dataclasses.replace(t, predicted_latency_ms=2.8 - 0.1 * k) for k, t in enumerate(trials)]
    per_image = np.random.default_rng(0).exponential(0.1, 256)

    def first_after(growth: float) -> TrialReport:
        kls = {t.arch: per_image * growth**k for k, t in enumerate(trials)}

        class Fixed:
            def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
                found = kls[asked_of(model)]
                return SubnetScore(float(found.mean()), float(found.mean()), 0.5, 256, kls=tuple(found))

        return rank_finalists(trials, refiner=make_deriver(), scorer=Fixed())[0].trial

    assert first_after(1.0) == trials[-1]
    assert first_after(1.5) == trials[0]
