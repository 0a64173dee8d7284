from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.feasible import Limits
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetDeriver
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import StudyConfig, StudyResult
from nuwa_search.search.workers import Evaluation, PoolPending, evaluate
from tests.support.search_fakes import CountingLatency, EmptyDeriver, MakeSpace, SyntheticScorer, best_of


class Failing:
    def __init__(
        self,
        error: Exception,
        *,
        fails_on: Callable[[Arch], bool] = lambda arch: True,
        inner: SubnetDeriver | None = None,
    ) -> None:
        self.error, self.fails_on, self.inner = error, fails_on, inner

    def derive(self, arch: Arch) -> PlainViT:
        if self.fails_on(arch):
            raise self.error
        assert self.inner is not None
        return self.inner.derive(arch)


def test_an_arch_that_fails_is_an_answer(make_space: MakeSpace, make_scorer: type[SyntheticScorer]) -> None:
    space = make_space()
    found = evaluate(space.base, deriver=Failing(RuntimeError("singular")), scorer=make_scorer(space.base),
                     give_up_above=None)  # fmt: skip
    assert found.score is None
    assert found.reason == "RuntimeError: singular"


def test_a_wrong_use_is_not_swallowed(make_space: MakeSpace, make_scorer: type[SyntheticScorer]) -> None:
    with pytest.raises(NuwaError, match="no such base"):
        evaluate(make_space().base, deriver=Failing(NuwaError("no such base")), scorer=make_scorer(make_space().base),
                 give_up_above=None)  # fmt: skip


def test_failed_trials_are_recorded_and_not_tried_again(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
) -> None:
    space = make_space(3)
    deriver = Failing(
        RuntimeError("singular"), fails_on=lambda arch: arch.blocks[0].mlp_width == 32, inner=make_deriver()
    )
    result = run_study(
        space, deriver=deriver, scorer=make_scorer(space.base), limits=Limits(latency, 2.4),
        config=StudyConfig(trials=15),
    )  # fmt: skip
    failed = [t.arch for t in result.trials if t.state == "failed"]
    assert result.num_failed == len(failed) == len(set(failed)) > 0
    assert best_of(result).arch.blocks[0].mlp_width != 32


def test_a_study_that_ran_out_of_memory_goes_on_to_the_same_trials(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
    tmp_path: Path,
) -> None:
    space = make_space(4)
    count = iter(range(100))

    def run(deriver: SubnetDeriver, url: str | None) -> StudyResult:
        return run_study(
            space, deriver=deriver, scorer=make_scorer(space.base), limits=Limits(latency, 2.8),
            config=StudyConfig(trials=10), place=StudyPlace(storage_url=url),
        )  # fmt: skip

    whole, url = run(make_deriver(), None), f"sqlite:///{tmp_path}/study.db"
    out = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.")
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(Failing(out, fails_on=lambda _: next(count) == 6, inner=make_deriver()), url)
    rest = run(make_deriver(), url)
    assert rest.num_failed == whole.num_failed == 0
    assert [(t.arch, t.state, t.kl) for t in rest.trials] == [(t.arch, t.state, t.kl) for t in whole.trials]
    assert best_of(rest).arch == best_of(whole).arch


def test_a_killed_process_is_told_as_such() -> None:
    broken: Future[Evaluation] = Future()
    broken.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
    with pytest.raises(OutsideError, match="killed from outside") as caught:
        PoolPending(broken).result()
    assert "--workers" in caught.value.hint


def test_a_study_in_which_everything_fails_ends(
    make_space: MakeSpace, make_scorer: type[SyntheticScorer], latency: CountingLatency
) -> None:
    space = make_space()
    with pytest.raises(NuwaError, match="in a row"):
        run_study(
            space, deriver=Failing(RuntimeError("singular")), scorer=make_scorer(space.base),
            limits=Limits(latency, 2.4), config=StudyConfig(trials=30),
        )  # fmt: skip


@pytest.mark.slow
def test_several_processes_score_one_study(
    make_space: MakeSpace,
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
    tmp_path: Path,
) -> None:
    space, url = make_space(4), f"sqlite:///{tmp_path}/s.db"

    def run(trials: int, workers: int) -> StudyResult:
        return run_study(
            space, deriver=make_deriver(), scorer=make_scorer(space.base), limits=Limits(latency, 2.8),
            config=StudyConfig(trials=trials, num_workers=workers), place=StudyPlace(storage_url=url),
        )  # fmt: skip

    result = run(12, 2)
    archs = [t.arch for t in result.trials if t.is_evaluation]
    assert len(archs) == len(set(archs)) == 12
    again = run(14, 1)
    assert again.num_evaluations == 14
    assert [t.number for t in again.trials] == list(range(len(again.trials)))
