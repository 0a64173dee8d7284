"""The search's loop: study, measure, fine-tune, prove; a missed limit corrects its promise and the search goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Measurement
from nuwa_search.deploy.ship import Proven, Shipment, prove
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.job.compete import choose_shipped
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.search_run import SearchRun
from nuwa_search.search.job.study_rounds import StudyRounds, Winner
from nuwa_search.search.job.winner import Shipped
from nuwa_search.search.library import Library
from nuwa_search.search.recording.records import record_trials
from nuwa_search.search.recording.trials import TrialRecorder
from nuwa_search.search.repair import Attempt, Promises, Repaired, search_and_repair
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyResult, TrialReport


@dataclass(frozen=True)
class FinishedWinner:
    """What would be shipped, with its proofs on every device."""

    shipped: Shipped
    proven: tuple[Proven, ...]

    @property
    def arch(self) -> Arch:
        return self.shipped.arch

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(one.measurement for one in self.proven)


@dataclass(frozen=True)
class Settled:
    """What a search settled on.

    Args:
        repaired: The winner, what was made of it, and everything that was measured.
        study: All proposals.
        space: What could be proposed.
        library: Single replacements that led to it.
        base_score: Score of the base itself on the library's images.
    """

    repaired: Repaired[Winner, FinishedWinner, LatencyPredictor]
    study: StudyResult
    space: SearchSpace
    library: Library
    base_score: SubnetScore


def settle(run: SearchRun, finder: Finder) -> Settled:
    """Search until what would be shipped keeps every limit as measured, or the loop gives up.

    Raises:
        BudgetTooSmallError: If nothing in the space fits.
        NoAnswerError: If the export is not right.
    """
    recorder = _recorder(run, finder)

    def on_trial(trial: TrialReport) -> None:
        recorder.add(trial)
        run.hooks.trial(trial)

    rounds = StudyRounds(finder, on_trial=on_trial)
    finished: list[FinishedWinner] = []

    def search(promises: tuple[Promises[LatencyPredictor], ...]) -> Winner | None:
        winner = rounds.search(promises)
        if rounds.study is not None:
            recorder.finish(rounds.study)
        return winner

    def measure(winner: Winner) -> tuple[Measurement, ...]:
        measurements = finder.measure(winner.model)
        _say_found(run, winner, measurements)
        return measurements

    def finish(winner: Winner, _: tuple[Promises[LatencyPredictor], ...]) -> FinishedWinner:
        run.hooks.stage("finetune")
        # the small alternative takes part once: it does not change with what a miss corrects
        shipped = choose_shipped(winner, finder, cache_dir=run.cache_dir, has_small_model=not finished)
        run.hooks.stage("export")
        shipment, search_split = shipment_of(run, shipped), run.inputs.tensors_for(shipped.arch).search
        proven = tuple(prove(shipment, device=one.device, search=search_split) for one in finder.surveys)
        finished.append(FinishedWinner(shipped, proven))
        return finished[-1]

    repaired = search_and_repair(
        search,
        measure=measure,
        finish=finish,
        promises=[survey.promises(run.inputs.teacher.model.arch) for survey in finder.surveys],
        budgets=finder.budgets,
        on_attempt=lambda attempt: _say_attempt(run, finder, attempt),
    )
    study = rounds.study or repaired.winner.study
    return Settled(repaired, study, rounds.space, rounds.library, rounds.base_score)


def shipment_of(run: SearchRun, shipped: Shipped) -> Shipment:
    """Pack what is shipped with its labels and preprocessing; what is known about it comes later."""
    return Shipment(
        model=shipped.model,
        arch=shipped.arch,
        subnet_id=shipped.subnet_id,
        task=run.inputs.task,
        preprocess=run.inputs.tensors_for(shipped.arch).preprocess,
    )


def _recorder(run: SearchRun, finder: Finder) -> TrialRecorder:
    def write(scored: Sequence[TrialReport]) -> None:
        record_trials(
            run.store,
            run.inputs,
            scored,
            study=run.claim.study,
            predictors=[survey.start for survey in finder.surveys],
            options=finder.deriver.options,
            seed=run.request.seed,
        )

    return TrialRecorder(write)


def _say_found(run: SearchRun, winner: Winner, measurements: Sequence[Measurement]) -> None:
    study, several = winner.study, len(measurements) > 1
    predicted = [winner.trial.predicted_latency_ms, *(one.predicted_latency_ms for one in winner.trial.elsewhere)]
    told = "; ".join(
        f"{before:.2f} ms predicted, {found.latency_ms.median:.2f} ms {found.provenance}"
        + (f" on {found.device.name}" if several else "")
        for before, found in zip(predicted, measurements, strict=True)
    )
    run.hooks.step(
        f"{study.num_evaluations} subnets scored of {len(study.trials)} proposed "
        f"({100 * study.feasible_share:.0f} % within the budget{'s' if several else ''}); best: {told}"
    )


def _say_attempt(run: SearchRun, finder: Finder, attempt: Attempt) -> None:
    verdict = attempt.verdict
    if attempt.stage == "found":
        devices = [
            {
                "device": survey.spec.name,
                "measured_ms": survey.budget.latency_ms(reading.measurement.latency_ms),
                "is_met": reading.verdict.is_met,
            }
            for survey, reading in zip(finder.surveys, attempt.readings, strict=True)
        ]
        told = {
            "arch_id": attempt.arch.arch_id,
            "measured_ms": devices[0]["measured_ms"],
            "is_met": verdict.is_met,
            "reason": verdict.reason,
            **({"devices": devices} if len(devices) > 1 else {}),
        }
        run.store.add_event(run.claim.study, "winner-measured", told)
    if not verdict.is_met:
        when = "" if attempt.stage == "found" else "as it would be shipped: "
        corrected = " and ".join(
            _RESPONSIBLE[excess.limit] + (f" of {excess.device}" if excess.device else "")
            for excess in verdict.excesses
        )
        run.hooks.step(f"{when}{verdict.reason}; the {corrected} is corrected")


_RESPONSIBLE = {"latency": "latency predictor", "memory": "memory estimate"}
