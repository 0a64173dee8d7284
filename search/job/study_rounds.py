"""The study of a search in rounds: it goes on under other promises, and its best few are refined."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.explore import Explorer
from nuwa_search.search.feasible import BudgetTooSmallError, Limits
from nuwa_search.search.finalists import (
    LARGE_REFINE_IMAGES,
    REFINE_IMAGES,
    pick_finalists,
    rank_finalists,
    refiner_of,
)
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.job.deadline import Deadline
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.library import cached_library
from nuwa_search.search.job.reachable import limits_of, told_in_budgets
from nuwa_search.search.keep import search_space
from nuwa_search.search.library import Library, library_archs
from nuwa_search.search.repair import Promises
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetScore, TeacherScorer
from nuwa_search.search.study import stored_trials
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import EVALUATED, StudyConfig, StudyHooks, StudyResult, TrialReport

EXTRA_TRIALS = 8
"""Subnets that the study may score beyond the request's trials each time a measured winner missed the budget."""
PATIENCE = 12
"""Proposals of its own after which an explored study ends where none was better than the best: on the default base
none of 37 beat the explorer's nets where changes were really run. With changes from gradients 3 of 7 did on the
textiles, and none of 7 on the tiles (``benchmarks/results/real_size_proposals.csv``)."""
EXPLORED_TO_PRUNE = 3
"""Scored subnets of an explored study before any is given up: its first ones are the best of those that were run."""
SEARCH_SHARE = 0.4
"""Share of the time left that library and study may take; the rest is for competition and fine-tuning."""
LIBRARY_SHARE = 0.5
"""Share of that which the library may take; it is then short, and usable."""
FINALISTS_SHARE = 0.25
"""Share of what is then left that refining the study's best may take."""
LEAST_STUDY_S = 1.0
"""A study of any length scores at least its first seed; one of no length would be refused."""


@dataclass(frozen=True)
class Winner:
    """What one search settled on.

    Args:
        trial: As the study saw it.
        model: Derived from the base and refined, not fine-tuned.
        study: All proposals.
    """

    trial: TrialReport
    model: PlainViT
    study: StudyResult

    @property
    def arch(self) -> Arch:
        return self.trial.arch


class StudyRounds:
    """One study in rounds: it goes on where it was, under other promises, and its best few are refined.

    Args:
        finder: Of the search.
        on_trial: Called after each recorded proposal.
    """

    def __init__(self, finder: Finder, *, on_trial: Callable[[TrialReport], None]) -> None:
        self._finder = finder
        self._on_trial = on_trial
        inputs = finder.inputs
        arch = inputs.teacher.model.arch
        self.space = search_space(arch, keep=finder.request.keep, img_sizes=finder.img_sizes)
        self._scorer = TeacherScorer(
            inputs.teacher.model,
            inputs.tensors.search,
            inputs.base.preprocess,
            seed=finder.request.seed,
            metric=inputs.task.metric,
            known=inputs.tensors.known,
            others=[inputs.sized.search(size) for size in self.space.sizes if size != arch.img_size],
        )
        self._first = self._scored_before(finder.request.from_study)
        self._num_rounds = 0
        self._refined: dict[Arch, SubnetScore] = {}
        self._library: Library | None = None
        self._explorer: Explorer | None = None
        self.study: StudyResult | None = None

    @property
    def library(self) -> Library:
        """Single replacements that lead the study; made by the first round."""
        if self._library is None:
            raise NuwaError("the library of single cuts is made by the first round of the study")
        return self._library

    @property
    def base_score(self) -> SubnetScore:
        """Score the base itself as the library's rows are: no KL, and its own share right."""
        count = max((row.score.num_images for row in self.library.rows), default=len(self._scorer.inputs))
        return self._scorer.score_logits(self._scorer.log_targets[:count])

    def search(self, promises: Sequence[Promises[LatencyPredictor]]) -> Winner | None:
        """Run the next round and refine a few of the study's best; None where nothing that fits was scored.

        Raises:
            BudgetTooSmallError: If nothing in the space fits.
        """
        finder = self._finder
        ends = finder.deadline.part(SEARCH_SHARE)
        if self._library is None:
            finder.hooks.stage("cuts")
            self._library = cached_library(
                finder.inputs,
                space=self.space,
                deriver=finder.deriver,
                scorer=self._scorer,
                cache=finder.cache,
                seed=finder.request.seed,
                hooks=finder.hooks,
                should_stop=ends.part(LIBRARY_SHARE).is_over,
            )
            self._explorer = self._explorer_of(self._library)
        finder.hooks.stage("study")
        limits = limits_of(promises, finder.budgets, devices=finder.inputs.devices)
        try:
            self.study = self._study(limits, ends=ends)
        except BudgetTooSmallError as error:
            raise told_in_budgets(
                error, finder.budgets, limits=limits, base=self.space.base, keep=finder.request.keep
            ) from error
        self._num_rounds += 1
        return self._best_refined(self.study)

    def _explorer_of(self, library: Library) -> Explorer | None:
        """Explore where images are large, the library is whole and not the whole front is asked for.

        The front is the sampler's work. Small images cost so little that really scored nets serve as well:
        docs/search.md has the comparison.
        """
        is_whole = bool(library.rows) and all(row.change is not None for row in library.rows)
        if is_small(self.space.base) or self._finder.request.pareto:
            return None
        if not is_whole or len(library.rows) < len(library_archs(self.space)):
            return None
        finder = self._finder
        return Explorer(
            self.space,
            deriver=finder.deriver,
            scorer=self._scorer,
            library=library,
            seed=finder.request.seed,
            on_run=lambda done, most: finder.hooks.count("exploring", done, most),
        )

    def _scored_before(self, study: str | None) -> tuple[Arch, ...]:
        """List what the study that this one goes on from scored; what this search space lacks is said."""
        if study is None or self._finder.storage_url is None:
            return ()
        scored = [t for t in stored_trials(self._finder.storage_url, study) if t.report["state"] in EVALUATED]
        whole = self.space.params_of_base  # of what that study kept whole, its trials do not speak
        known = [values for trial in scored if self.space.has_params(values := whole | dict(trial.params))]
        archs = [self.space.arch_from_params(values) for values in known]
        self._finder.hooks.step(
            f"study {study} scored {len(scored)} subnets, {len(archs)} of this space: they come first"
        )
        return tuple(archs)

    def _best_refined(self, study: StudyResult) -> Winner | None:
        if study.best is None:
            return None
        finder = self._finder
        finder.hooks.stage("refine")
        few = is_small(finder.inputs.teacher.model.arch)
        picked = pick_finalists(study)
        if len(picked) == 1:
            finder.hooks.step("one finalist: all other subnets are far behind it")
            return Winner(picked[0], finder.deriver.derive_refined(picked[0].arch), study)
        finalists = rank_finalists(
            picked,
            refiner=refiner_of(finder.deriver, max_images=REFINE_IMAGES if few else LARGE_REFINE_IMAGES),
            scorer=self._scorer,
            known=self._refined,
            should_stop=finder.deadline.part(FINALISTS_SHARE).is_over,
            on_finalist=lambda done, total: finder.hooks.count("refining finalists", done, total),
        )
        best = finalists[0]
        finder.hooks.step(
            f"best of {len(finalists)} refined: KL {best.refined.kl:.3f}, {best.trial.kl or 0.0:.3f} before"
        )
        return Winner(best.trial, finder.deriver.derive_refined(best.trial.arch), study)

    def _study(self, limits: Limits, *, ends: Deadline) -> StudyResult:
        finder = self._finder
        request = finder.request
        left_s = ends.left_s()
        config = StudyConfig(
            trials=request.trials + self._num_rounds * EXTRA_TRIALS,
            timeout_s=None if left_s is None else max(LEAST_STUDY_S, left_s),
            sampler=request.sampler,
            seed=request.seed,
            pareto=request.pareto,
            num_workers=request.workers,
            batch=request.batch,
            first=self._first,
        )
        if self._explorer is not None:
            config = dataclasses.replace(config, patience=PATIENCE, scored_to_prune=EXPLORED_TO_PRUNE)
        return run_study(
            self.space,
            deriver=finder.deriver,
            scorer=self._scorer,
            limits=limits,
            config=config,
            guidance=Guidance(library=self.library, explorer=self._explorer),
            place=StudyPlace(
                finder.study_name, finder.storage_url, identity=self._identity(), executor=finder.executor
            ),
            hooks=StudyHooks(on_trial=self._on_trial),
        )

    def _identity(self) -> dict[str, str]:
        """Return what a study of this name must have been started with: base, task, devices and derivation."""
        finder = self._finder
        more = zip(finder.inputs.devices[1:], finder.request.device_budgets[1:], strict=True)
        further = " ".join(f"{asked.budget_ms!r}@{spec.device_id}" for spec, asked in more)
        return (
            {
                "base": finder.inputs.base.base_id,
                "task": finder.inputs.task.task_id,
                "device": finder.inputs.device.device_id,
                "budget_ms": f"{finder.request.budget_ms:g}",
            }
            | ({"further budgets": further} if further else {})
            | _told_derivation(finder.deriver.options)
        )


def others_for(arch: Arch, inputs: Inputs) -> list[SplitTensors]:
    """Return the search images at the size of ``arch``, where that is not the base's own: what its scorer needs."""
    return [] if arch.img_size == inputs.base.arch.img_size else [inputs.sized.search(arch.img_size)]


def _told_derivation(options: DeriveOptions) -> dict[str, str]:
    """Return the derivation where it is not the first version's: scores of two derivations must not be mixed."""
    return {} if options == DeriveOptions() else {"derivation": options.canonical}
