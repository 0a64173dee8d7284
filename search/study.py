"""The study in Optuna: samplers, and trials in a storage that other Optuna tools can read.

The only module that imports optuna. A stored trial is written once, whole; the sampler works on a mirror of
the study in memory, because writing fifty parameters one by one costs more than scoring the subnet.
"""

import dataclasses
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import OptunaError
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nuwa_search.core import checked
from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.interrupts import interrupt_deferred
from nuwa_search.core.records import record_from_dict
from nuwa_search.core.suggest import unknown_name
from nuwa_search.search.samplers import SAMPLERS
from nuwa_search.search.scorer import FIRST_IMAGES
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import DevicePrediction, StoredTrial, StudyConfig, TrialReport
from nuwa_search.store.failures import DATABASE_ERRORS, is_already_made

IDENTITY_ATTR = "nuwa.identity"
REPORT_ATTR = "nuwa.report"
ARCH_ATTR = "arch_id"
POPULATION_SIZE = 20
"""Of NSGA-II and NSGA-III; Optuna's 50 would leave most studies in their first generation."""

OPEN_ATTEMPTS = 20
"""At making Optuna's tables: it has ten, and each attempt finds at least one more of them made."""

STORED_VALUES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What Optuna raises at values in its tables that it did not write."""
SAME_ERRORS = 3
"""Of one text at making them: a table that another process makes is there at the next attempt, a fault stays."""

_PENALISED = ("nsga2", "nsga3", "gp")
"""Samplers that learn from complete trials only and so must be told of infeasible ones as complete and bad."""


class StudyLog:
    """One study: what was tried, and the sampler's next idea.

    Args:
        space: Its search space.
        config: Sampler, seed and number of objectives.
        place: Where it is kept, and what a resumed study must agree on.

    Raises:
        NuwaError: If the stored study is about something else, or the sampler is unknown or not installed.
        OutsideError: If the storage cannot be opened.
    """

    def __init__(self, space: SearchSpace, *, config: StudyConfig, place: StudyPlace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._config = config
        self._sampler_name = resolve_sampler(config.sampler, pareto=config.pareto)
        self._distributions = {name: _distribution(choices) for name, choices in space.params.items()}
        self._directions = [StudyDirection.MINIMIZE] * (2 if config.pareto else 1)
        self._mirror = optuna.create_study(directions=self._directions, sampler=self._make_sampler(0))
        self._pending: dict[int, optuna.Trial] = {}
        self._storage: optuna.storages.RDBStorage | None = None
        self._stored: optuna.Study | None = None
        self.trials: list[TrialReport] = []
        if place.storage_url is not None:
            self._open(place.storage_url, place.study_name, _identity(space, config, place.identity))

    def _open(self, url: str, study_name: str, identity: dict[str, str]) -> None:
        with interrupt_deferred(is_breakable=True), _storage_errors(url):
            self._storage = _open_storage(url)
            self._stored = optuna.create_study(
                storage=self._storage, study_name=study_name, directions=self._directions, load_if_exists=True
            )
            known = self._stored.user_attrs.get(IDENTITY_ATTR)
            if known is None:
                self._stored.set_user_attr(IDENTITY_ATTR, identity)
            trials = self._stored.get_trials(deepcopy=False)
        if known is not None and known != identity:
            changed = sorted(k for k in {*known, *identity} if known.get(k) != identity.get(k))
            raise NuwaError(
                f"study {study_name!r} is about something else: it differs in {', '.join(changed)}",
                hint="give this search another name with --study",
            )
        for trial in trials:
            if _is_reported(trial):
                notes = {k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")}
                self._reflect(_report_from_stored(trial, self._space), excess=trial.constraints, system_attrs=notes)

    def close(self) -> None:
        """Release the storage's connections."""
        if self._storage is not None:
            _close_storage(self._storage)

    def ask(self) -> tuple[int, dict[str, int]]:
        """Ask the sampler for a proposal: a ticket for ``record``, and values by name."""
        # made anew for every proposal, seeded by its number: a resumed study goes on as if it had not stopped
        self._mirror.sampler = self._make_sampler(len(self.trials) + len(self._pending))
        trial = self._mirror.ask(self._distributions)
        self._pending[trial.number] = trial
        return trial.number, {name: int(value) for name, value in trial.params.items()}

    def record(self, report: TrialReport, *, excess: Mapping[str, float], ticket: int | None = None) -> TrialReport:
        """Write one finished trial, in storage first, and let the sampler learn from it.

        Args:
            report: What became of it; its number is replaced by the storage's.
            excess: How far each hard limit is exceeded; positive is a violation.
            ticket: Of ``ask``; None when the arch came from elsewhere.

        Returns:
            The report with its number.
        """
        pending = self._pending.pop(ticket) if ticket is not None else self._mirror.ask()
        attrs = self._sampler_notes(pending)
        self._mirror.tell(
            pending, state=TrialState.FAIL
        )  # its finished copy comes below, canonical, with its prediction
        numbered = dataclasses.replace(report, number=len(self.trials))
        if self._stored is not None:
            stored = _frozen(numbered, self._space, self._distributions, pareto=self._config.pareto)
            _annotate(stored, excess=excess, system_attrs=attrs)
            with interrupt_deferred(is_breakable=True), _storage_errors("the study's storage"):
                self._stored.add_trial(stored)
        self._reflect(numbered, excess=excess, system_attrs=attrs)
        return numbered

    def _reflect(self, report: TrialReport, *, excess: Mapping[str, float], system_attrs: Mapping[str, Any]) -> None:
        """Let the sampler see a finished trial."""
        trial = _frozen(report, self._space, self._distributions, pareto=self._config.pareto)
        if self._sampler_name in _PENALISED and trial.state == TrialState.PRUNED:
            trial.state, trial.values = TrialState.COMPLETE, self._penalty(report)
        if self._config.pareto:
            trial.intermediate_values = {}
        _annotate(trial, excess=excess, system_attrs=system_attrs)
        self._mirror.add_trial(trial)
        self.trials.append(report)

    def _penalty(self, report: TrialReport) -> list[float]:
        """Stand-in objectives of a trial without a full score: its partial KL, or worse than any seen."""
        worst = max((t.kl for t in self.trials if t.kl is not None), default=1.0)
        kl = report.kl if report.kl is not None else 2.0 * worst
        return [kl, report.predicted_latency_ms] if self._config.pareto else [kl]

    def _sampler_notes(self, trial: optuna.Trial) -> dict[str, Any]:
        """Read what the sampler wrote on a trial (its generation), so that a resumed study has it too."""
        sampler = self._mirror.sampler
        frozen = self._mirror.get_trials(deepcopy=False)[trial.number]
        if isinstance(sampler, optuna.samplers.NSGAIISampler | optuna.samplers.NSGAIIISampler):
            sampler.get_trial_generation(self._mirror, frozen)
        return {k: v for k, v in frozen.system_attrs.items() if "generation" in k}

    def _make_sampler(self, turn: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._config.seed, turn]).generate_state(1)[0])
        match self._sampler_name:
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION_SIZE)
            case "nsga3":
                return optuna.samplers.NSGAIIISampler(seed=seed, population_size=POPULATION_SIZE)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case _:
                return optuna.samplers.RandomSampler(seed=seed)


def stored_trials(url: str, study_name: str) -> list[StoredTrial]:
    """Read the finished trials of a study; none where the storage does not know it.

    Args:
        url: SQLAlchemy URL of the storage.
        study_name: Its name there.

    Raises:
        OutsideError: If the storage fails.
    """
    with interrupt_deferred(is_breakable=True), _storage_errors(url):
        storage = _open_storage(url)
        try:
            if study_name not in optuna.get_all_study_names(storage):
                return []
            trials = optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
        finally:
            _close_storage(storage)
        return [_stored_trial(trial) for trial in trials if _is_reported(trial)]


def _stored_trial(trial: FrozenTrial) -> StoredTrial:
    """Take out what this program wrote beside a trial."""
    where = f"trial {trial.number}"
    report = checked.mapping(trial.user_attrs[REPORT_ATTR], f"the report of {where}")
    checked.text(checked.field(report, "state", where=where), f"the state of {where}")
    arch_id = checked.text(trial.user_attrs.get(ARCH_ATTR), f"the arch of {where}")
    return StoredTrial(trial.number, arch_id, {**report}, _params(trial))


def _params(trial: FrozenTrial) -> dict[str, int]:
    return {name: int(value) for name, value in trial.params.items()}


def _is_reported(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and REPORT_ATTR in trial.user_attrs


def resolve_sampler(name: str, *, pareto: bool) -> str:
    """Turn a sampler's name into one that is known: ``auto`` is TPE, or NSGA-II for the whole front.

    Raises:
        NuwaError: If the name is unknown.
    """
    if name not in SAMPLERS:
        raise unknown_name("sampler", name, SAMPLERS)
    if name == "auto":
        return "nsga2" if pareto else "tpe"
    return name


def _distribution(choices: tuple[int, ...]) -> BaseDistribution:
    """Integers where choices are evenly spaced (samplers then know their order), else categories."""
    steps = {b - a for a, b in itertools.pairwise(choices)}
    if len(steps) == 1:
        return IntDistribution(choices[0], choices[-1], step=steps.pop())
    return CategoricalDistribution(choices)


def _frozen(
    report: TrialReport, space: SearchSpace, distributions: dict[str, BaseDistribution], *, pareto: bool
) -> FrozenTrial:
    states = {"scored": TrialState.COMPLETE, "failed": TrialState.FAIL}
    state = states.get(report.state, TrialState.PRUNED)
    values = None
    if state == TrialState.COMPLETE and report.kl is not None:
        values = [report.kl, report.predicted_latency_ms] if pareto else [report.kl]
    partial = {FIRST_IMAGES: report.kl_first} if report.kl_first is not None else {}
    return optuna.trial.create_trial(
        state=state,
        values=values,
        params=dict(space.params_from_arch(report.arch)),
        distributions=distributions,
        intermediate_values=partial,
        user_attrs={REPORT_ATTR: report.to_json(), ARCH_ATTR: report.arch.arch_id},
    )


def _annotate(trial: FrozenTrial, *, excess: Mapping[str, float], system_attrs: Mapping[str, Any]) -> None:
    for key, value in system_attrs.items():
        trial.system_attrs[key] = value
    for name, value in excess.items():
        trial.set_constraint(name, value)


def _report_from_stored(trial: FrozenTrial, space: SearchSpace) -> TrialReport:
    about = dict(trial.user_attrs[REPORT_ATTR])
    low, high = about.pop("predicted_interval_ms")
    elsewhere = tuple(
        record_from_dict(DevicePrediction, values, where=f"trial {trial.number}")
        for values in about.pop("elsewhere", ())
    )
    return TrialReport(
        number=trial.number,
        arch=space.arch_from_params(_params(trial)),
        predicted_interval_ms=(low, high),
        elsewhere=elsewhere,
        **about,
    )


def _identity(space: SearchSpace, config: StudyConfig, given: Mapping[str, str]) -> dict[str, str]:
    described = json.dumps([dict_from_arch(space.base), space.params, space.min_attn], sort_keys=True)
    digest = hashlib.sha256(described.encode()).hexdigest()[:16]
    return {**given, "search space": digest, "objectives": "kl, latency" if config.pareto else "kl"}


def _close_storage(storage: optuna.storages.RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open Optuna's storage; its tables are made on first use.

    Two processes that come to a new database together both make them, and the slower one fails on what
    the faster has made: it looks again, and finds it.
    """
    engine_kwargs = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    told: Counter[str] = Counter()
    for attempt in range(1, OPEN_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=engine_kwargs)
        except DATABASE_ERRORS as error:
            told[str(error)] += 1
            if not is_already_made(error) or told[str(error)] > SAME_ERRORS:
                raise
        time.sleep(0.05 * attempt)
    return optuna.storages.RDBStorage(url, engine_kwargs=engine_kwargs)


def make_study_tables(url: str) -> None:
    """Make Optuna's tables in a database where they are not there yet.

    Args:
        url: As SQLAlchemy takes it.

    Raises:
        OutsideError: If the storage cannot be opened, or is of another version of Optuna.
    """
    with interrupt_deferred(is_breakable=True), _storage_errors("the studies' storage"):
        _close_storage(_open_storage(url))


@contextmanager
def _storage_errors(where: str) -> Iterator[None]:
    """Turn what goes wrong outside (server gone, disk full, file locked) into our error."""
    try:
        yield
    except (*DATABASE_ERRORS, OptunaError, *STORED_VALUES) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutsideError(f"{where} failed: {first}", hint="check the database, then run the command again") from error
