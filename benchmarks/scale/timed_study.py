"""A study whose scores take long enough to be spread, timed on a cluster."""

import time
from functools import cached_property
from pathlib import Path

import torch

from benchmarks.faults.toy import say
from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import task_tensors
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.opened import opened_executor
from nuwa_search.search.feasible import Limits
from nuwa_search.search.keep import search_space
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency
from tests.support.toy_base import CLASSES
from tests.support.toy_images import write_colours

BASE = "random:vit_tiny_patch16_224"
"""A score of it takes some tenths of a second on one thread; its weights do not matter to the time."""
BUDGET_SHARE = 0.7
"""Of the base's latency, so that subnets are cut and still cost something."""


class TimedStudy:
    """A study of one base on images made by code; the sampler proposes, so that nothing but scoring takes long.

    Args:
        folder: For the images.
        trials: Subnets to score.
        batch: Subnets in flight.
    """

    base = BASE

    def __init__(self, folder: Path, *, trials: int, batch: int) -> None:
        self.trials = trials
        self._folder, self._batch = folder, batch

    @cached_property
    def _parts(self) -> tuple[Deriver, TeacherScorer]:
        base = load_base(BASE)
        images = write_colours(self._folder / "images", CLASSES)
        task = open_task(base, data=str(images), label_column=None, classes=None, seed=0)
        tensors = task_tensors(task, base.preprocess)
        teacher = task_base(base, task, tensors).model
        deriver = Deriver(teacher, tensors.train, base.preprocess, options=options_for(teacher.arch))
        deriver.prepare()
        say(f"statistics of {BASE} took {deriver.prepare_seconds:.0f} s")
        return deriver, TeacherScorer(teacher, tensors.search, base.preprocess)

    def on_cluster(self, address: str) -> tuple[float, Arch]:
        """Run it once on a cluster whose processes are there already; the seconds, and the winner."""
        torch.set_num_threads(1)
        with opened_executor("ray", address=address, say=say) as executor:
            self._run(executor, 2 * self._batch)  # starts the processes, which read torch
            return self._run(executor, self.trials)

    def _run(self, executor: Executor, trials: int) -> tuple[float, Arch]:
        deriver, scorer = self._parts
        space, latency = search_space(deriver.model.arch), CountingLatency()
        begun = time.perf_counter()
        result = run_study(
            space,
            deriver=deriver,
            scorer=scorer,
            limits=Limits(latency, BUDGET_SHARE * latency.ms(space.base)),
            config=StudyConfig(trials=trials, batch=self._batch, prune=False, guided=False, sampler="random"),
            place=StudyPlace(executor=executor),
        )
        seconds = time.perf_counter() - begun
        if result.best is None or result.num_evaluations != trials:
            raise RuntimeError(f"{result.num_evaluations} of {trials} subnets were scored")
        say(f"{trials} subnets in {seconds:.1f} s: {sum(t.seconds for t in result.trials):.1f} s of scoring")
        return seconds, result.best.arch
