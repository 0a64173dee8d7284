"""The search's loop: study, measure, fine-tune, prove; a missed limit corrects its promise and the search goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Measurement
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.library import Library
from nuwa_search.search.repair import Attempt, Promises, Repaired, search_and_repair
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyResult, TrialReport
from nuwa_search.service.workflow.compete import choose_shipped
from nuwa_search.service.workflow.find import Finder
from nuwa_search.service.workflow.recorder import TrialRecorder
from nuwa_search.service.workflow.records import record_trials
from nuwa_search.service.workflow.search_run import SearchRun
from nuwa_search.service.workflow.ship import Proven, Shipment, prove
from nuwa_search.service.workflow.study_rounds import StudyRounds, Winner
from nuwa_search.service.workflow.survey import Survey
from nuwa_search.service.workflow.winner import Shipped


@dataclass(frozen=True)
class FinishedWinner:
    """What would be shipped, with its proofs."""

    shipped: Shipped
    proven: Proven

    @property
    def arch(self) -> Arch:
        return self.shipped.arch

    @property
    def measurement(self) -> Measurement:
        return self.proven.measurement


@dataclass(frozen=True)
class Settled:
    """What a search settled on.

    Args:
        repaired: The winner, what was made of it, and everything that was measured.
        study: All proposals.
        space: What could be proposed.
        library: Single replacements that led to it.
    """

    repaired: Repaired[Winner, FinishedWinner, LatencyPredictor]
    study: StudyResult
    space: SearchSpace
    library: Library


def settle(run: SearchRun, finder: Finder, survey: Survey) -> Settled:
    """Search until what would be shipped keeps every limit as measured, or the loop gives up.

    Raises:
        BudgetTooSmallError: If nothing in the space fits.
        NoAnswerError: If the export is not right.
    """
    recorder = _recorder(run, finder, survey)

    def on_trial(trial: TrialReport) -> None:
        recorder.add(trial)
        run.hooks.trial(trial)

    rounds = StudyRounds(finder, on_trial=on_trial)
    finished: list[FinishedWinner] = []

    def search(promises: Promises[LatencyPredictor]) -> Winner | None:
        winner = rounds.search(promises)
        if rounds.study is not None:
            recorder.finish(rounds.study)
        return winner

    def measure(winner: Winner) -> Measurement:
        measurement = finder.measure(winner.model)
        _say_found(run, winner, measurement)
        return measurement

    def finish(winner: Winner, _: Promises[LatencyPredictor]) -> FinishedWinner:
        run.hooks.stage("finetune")
        # the small alternative takes part once: it does not change with what a miss corrects
        shipped = choose_shipped(winner, finder, cache_dir=run.cache_dir, has_small_model=not finished)
        run.hooks.stage("export")
        proven = prove(shipment_of(run, shipped), device=finder.device, search=run.inputs.tensors.search)
        finished.append(FinishedWinner(shipped, proven))
        return finished[-1]

    repaired = search_and_repair(
        search,
        measure=measure,
        finish=finish,
        promises=survey.promises(run.inputs.teacher.model.arch),
        budget=survey.budget,
        on_attempt=lambda attempt: _say_attempt(run, survey, attempt),
    )
    return Settled(repaired, rounds.study or repaired.winner.study, rounds.space, rounds.library)


def shipment_of(run: SearchRun, shipped: Shipped) -> Shipment:
    """Pack what is shipped with its labels and preprocessing; what is known about it comes later."""
    return Shipment(
        model=shipped.model,
        arch=shipped.arch,
        subnet_id=shipped.subnet_id,
        task=run.inputs.task,
        preprocess=run.inputs.base.preprocess,
    )


def _recorder(run: SearchRun, finder: Finder, survey: Survey) -> TrialRecorder:
    def write(scored: Sequence[TrialReport]) -> None:
        record_trials(
            run.store,
            run.inputs,
            scored,
            study=run.claim.study,
            predictor_id=survey.start.predictor_id,
            provenance=survey.start.predictor.subject.provenance,
            options=finder.deriver.options,
            seed=run.request.seed,
        )

    return TrialRecorder(write)


def _say_found(run: SearchRun, winner: Winner, measurement: Measurement) -> None:
    study = winner.study
    run.hooks.step(
        f"{study.num_evaluations} subnets scored of {len(study.trials)} proposed "
        f"({100 * study.feasible_share:.0f} % within the budget); best: {winner.trial.predicted_latency_ms:.2f} ms "
        f"predicted, {measurement.latency_ms.median:.2f} ms {measurement.provenance}"
    )


def _say_attempt(run: SearchRun, survey: Survey, attempt: Attempt) -> None:
    verdict = attempt.verdict
    if attempt.stage == "found":
        told = {
            "arch_id": attempt.arch.arch_id,
            "measured_ms": survey.budget.latency_ms(attempt.measurement.latency_ms),
            "is_met": verdict.is_met,
            "reason": verdict.reason,
        }
        run.store.add_event(run.claim.study, "winner-measured", told)
    if not verdict.is_met:
        when = "" if attempt.stage == "found" else "as it would be shipped: "
        corrected = " and ".join(_RESPONSIBLE[excess.limit] for excess in verdict.excesses)
        run.hooks.step(f"{when}{verdict.reason}; the {corrected} is corrected")


_RESPONSIBLE = {"latency": "latency predictor", "memory": "memory estimate"}
