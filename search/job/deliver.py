"""Ship what a search settled on: accuracies on the test split, the bundle, and every record of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.device_bundles import device_folder
from nuwa_search.deploy.score_facts import pixel_facts, score_facts
from nuwa_search.deploy.ship import Shipment, write, write_unexported
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive_command import derive_command
from nuwa_search.search.job.explain import picture_of
from nuwa_search.search.job.search_run import SearchRun
from nuwa_search.search.job.settle import FinishedWinner, Settled, shipment_of
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.job.winner import Accuracies, test_accuracies
from nuwa_search.search.recording.records import record_bundle, record_certified, record_shipment, subnet_id_of
from nuwa_search.search.result import (
    Artifacts,
    BaseAccuracies,
    Delivered,
    FrontPoint,
    SubnetPart,
    artifacts_from_bundle,
    counts_from_study,
)
from nuwa_search.search.trials import StudyResult
from nuwa_search.store.records import PredictedLatency


def deliver(
    run: SearchRun, surveys: Sequence[Survey], settled: Settled, finished: FinishedWinner
) -> tuple[Delivered, BaseAccuracies, ClassScores | None]:
    """Open the test split, write the bundle, and record both.

    Args:
        run: The search.
        surveys: Each device as the search found it, in the order of the budgets.
        settled: Winner, study, and every measurement.
        finished: What is shipped, with its export and measurement on every device.

    Returns:
        What was delivered, how accurate the base is on the same images, and how accurate it is at the image size of
        what was delivered, where that is another.
    """
    repaired, shipped = settled.repaired, finished.shipped
    run.hooks.stage("verify")
    accuracy = test_accuracies(run.inputs, shipped)
    shipment = dataclasses.replace(shipment_of(run, shipped), facts=_facts(run, accuracy), compared=accuracy.compared)
    bundles = _write(run, shipment, finished, surveys)
    subnet = _subnet(settled, finished, accuracy)
    _record(run, shipment, finished, accuracy, bundles)
    _record_predictions(run, surveys, settled, subnet.subnet_id)
    artifacts = artifacts_from_bundle(bundles[0])
    if run.request.explain:
        artifacts = _with_picture(run, settled, artifacts)
    study = settled.study
    delivered = Delivered(
        kind=shipped.kind,
        verdict=repaired.attempts[-1].verdict,
        subnet=subnet,
        artifacts=artifacts,
        trials=counts_from_study(study),
        repairs=repaired.num_repairs,
        front=front_of(run, study) if run.request.pareto else None,
        lost=accuracy.lost,
        bundles=tuple(bundles),
    )
    return delivered, BaseAccuracies(accuracy.all_classes, accuracy.restricted), accuracy.sized_base


def front_of(run: SearchRun, study: StudyResult) -> tuple[FrontPoint, ...]:
    """Name each point of the front by the net that was scored, with the command that cuts it again."""
    options = options_for(run.inputs.teacher.model.arch)
    ids = [subnet_id_of(trial.arch, run.inputs, options) for trial in study.front]
    db = run.store.command_url
    return tuple(
        FrontPoint(trial, identity, derive_command(identity, db=db))
        for trial, identity in zip(study.front, ids, strict=True)
    )


def _write(run: SearchRun, shipment: Shipment, finished: FinishedWinner, surveys: Sequence[Survey]) -> list[Bundle]:
    """Write the first device's bundle, and inside it one for each further device; it alone if nothing is deployed."""
    folder = Path(run.request.bundle_dir)
    if not run.request.deploy:
        return [write_unexported(folder, shipment)]
    folders = [folder, *(device_folder(folder, survey.spec.name) for survey in surveys[1:])]
    return [
        write(place, shipment, proven, spec=survey.spec, budget=survey.budget)
        for place, proven, survey in zip(folders, finished.proven, surveys, strict=True)
    ]


def _facts(run: SearchRun, accuracy: Accuracies) -> BundleFacts:
    base, task = run.inputs.base, run.inputs.task
    facts = BundleFacts(
        base=base.name,
        base_id=base.base_id,
        base_licence=base.licence.name,
        base_licence_source=base.licence.source or None,
        data=task.data,
        label_column=run.request.label_column,
        task_id=task.task_id,
        study=run.claim.study,
        split="test",
        search_split_seen_by_base=task.search_split_seen_by_base,
        none_below=accuracy.none_below,
        metric=task.metric,
    )
    ours, derived, theirs = accuracy.shipped, accuracy.derived, accuracy.restricted
    if isinstance(ours, PixelScores) and isinstance(derived, PixelScores) and isinstance(theirs, PixelScores):
        return dataclasses.replace(
            facts,
            miou_derived=derived.miou,
            pixel_scores=pixel_facts(ours, task.class_names),
            base_pixel_scores=pixel_facts(theirs, task.class_names),
        )
    return dataclasses.replace(
        facts,
        top1=ours.top1,
        top1_derived=derived.top1,
        base_top1_restricted=theirs.top1,
        base_top1_all_classes=accuracy.all_classes.top1 if accuracy.all_classes else None,
        scores=score_facts(ours, task.class_names) if isinstance(ours, ClassScores) else None,
        base_scores=score_facts(theirs, task.class_names) if isinstance(theirs, ClassScores) else None,
    )


def _subnet(settled: Settled, finished: FinishedWinner, accuracy: Accuracies) -> SubnetPart:
    shipped = finished.shipped
    promised = settled.repaired.attempts[-1].readings[0]
    return SubnetPart(
        arch=shipped.arch,
        subnet_id=shipped.subnet_id,
        predicted_latency_ms=promised.predicted_latency_ms,
        predicted_interval_ms=promised.predicted_interval_ms,
        measurement=promised.measurement,
        derived=accuracy.derived,
        scores=accuracy.shipped,
    )


def _stored_scores(accuracy: Accuracies) -> dict[str, float]:
    """Name the scores on the test split as the database has them: of images, or of pixels."""
    ours, derived = accuracy.shipped, accuracy.derived
    if isinstance(ours, PixelScores) and isinstance(derived, PixelScores):
        return {"miou": ours.miou, "miou_derived": derived.miou, "pixel_accuracy": ours.pixel_accuracy}
    return {"top1": ours.top1 or 0.0, "top1_derived": derived.top1 or 0.0}


def _record(
    run: SearchRun, shipment: Shipment, finished: FinishedWinner, accuracy: Accuracies, bundles: Sequence[Bundle]
) -> None:
    measurement_ids = record_shipment(
        run.store,
        run.inputs,
        shipment,
        finished.proven,
        study=run.claim.study,
        derivation=finished.shipped.derivation,
        scores=_stored_scores(accuracy),
        seed=run.request.seed,
    )
    record_bundle(run.store, bundles[0].dir, measurement_id=measurement_ids[0])
    for bundle, measurement_id in zip(bundles[1:], measurement_ids[1:], strict=False):  # one alone without deploying
        record_certified(run.store, bundle.dir, measurement_id=measurement_id)


def _record_predictions(run: SearchRun, surveys: Sequence[Survey], settled: Settled, subnet_id: str) -> None:
    """Store what the winner was predicted to take: by the fitted predictors, or by those that misses corrected."""
    repaired = settled.repaired
    run.store.record_predicted_latencies(
        [
            PredictedLatency(
                subnet_id=subnet_id,
                device_id=survey.spec.device_id,
                predicted_latency_ms=reading.predicted_latency_ms,
                predicted_interval_ms=reading.predicted_interval_ms,
                predictor_id=known_id if known_id == survey.start.predictor_id else None,
                provenance=promise.latency.subject.provenance,
            )
            for survey, promise, reading in zip(surveys, repaired.promises, repaired.attempts[-1].readings, strict=True)
            for known_id in (promise.latency.predictor_id,)
        ]
    )


def _with_picture(run: SearchRun, settled: Settled, artifacts: Artifacts) -> Artifacts:
    path = artifacts.dir / "front.png"
    try:
        picture_of(settled.study, path, budget_ms=run.request.budget_ms, title=run.claim.study)
    except NuwaError as error:  # matplotlib is an extra; a finished search is not lost for want of it
        run.hooks.step(f"no picture of the front: {error.message}; {error.hint}")
        return artifacts
    return dataclasses.replace(artifacts, front=path)
