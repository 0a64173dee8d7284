"""Put what a search found and shipped into the database."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.file_hashes import CERTIFICATE, hash_file
from nuwa_search.deploy.ship import Proven, Shipment
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult
from nuwa_search.deploy.write_bundle import parts_from_bundle
from nuwa_search.predictors.device_predictor import DevicePredictor
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.tune import Tuned
from nuwa_search.search.trials import TrialReport
from nuwa_search.store.records import (
    CertificateRecord,
    EngineRecord,
    ExportRecord,
    FinetuneRecord,
    PredictedLatency,
    ScoreRecord,
    SubnetRecord,
)
from nuwa_search.store.store import Store


def subnet_id_of(arch: Arch, inputs: Inputs, options: DeriveOptions) -> str:
    """Identify ``arch`` cut from this search's base for this search's task."""
    return subnet_id(arch, inputs.base.base_id, inputs.task.task_id, options)


def record_trials(
    store: Store,
    inputs: Inputs,
    scored: Sequence[TrialReport],
    *,
    study: str,
    predictors: Sequence[DevicePredictor],
    options: DeriveOptions,
    seed: int,
) -> None:
    """Store scored subnets of a study with their scores and predicted latencies on each device.

    Args:
        store: The database.
        inputs: Base and task.
        scored: What the study scored.
        study: Its name.
        predictors: One for each device, which priced them.
        options: Of the derivation.
        seed: Seed of the choice of images.
    """
    ids = {trial.number: subnet_id_of(trial.arch, inputs, options) for trial in scored}
    store.record_subnets(_subnet(t, ids[t.number], inputs, options, study) for t in scored)
    store.record_predicted_latencies(
        PredictedLatency(
            subnet_id=ids[trial.number],
            device_id=known.spec.device_id,
            predicted_latency_ms=value_ms,
            predicted_interval_ms=interval_ms,
            predictor_id=known.predictor_id,
            provenance=known.predictor.subject.provenance,
        )
        for trial in scored
        for known, (value_ms, interval_ms) in zip(predictors, _predictions(trial), strict=True)
    )
    store.record_scores(
        ScoreRecord(ids[trial.number], kind, "search", trial.num_images, seed, value)
        for trial in scored
        for kind, value in (("kl_to_teacher", trial.kl), ("top1_derived", trial.top1_search))
        if value is not None
    )


def _predictions(trial: TrialReport) -> list[tuple[float, tuple[float, float]]]:
    """List what each device was predicted to take, with its interval."""
    return [
        (trial.predicted_latency_ms, trial.predicted_interval_ms),
        *((one.predicted_latency_ms, one.predicted_interval_ms) for one in trial.elsewhere),
    ]


def _subnet(trial: TrialReport, identity: str, inputs: Inputs, options: DeriveOptions, study: str) -> SubnetRecord:
    return SubnetRecord(
        subnet_id=identity,
        arch=trial.arch,
        base_id=inputs.base.base_id,
        task_id=inputs.task.task_id,
        derivation=dataclasses.asdict(options) | {"origin": trial.origin},
        study=study,
        trial_number=trial.number,
    )


def record_derived(
    store: Store, inputs: Inputs, arch: Arch, identity: str, *, study: str, derivation: Mapping[str, object]
) -> None:
    """Store one subnet that is no trial by itself: the winner as it was made for shipping.

    Args:
        store: The database.
        inputs: Base and task.
        arch: Its shape.
        identity: Its subnet id.
        study: Name of the study of the search that made it.
        derivation: Options that it was cut with, as stored.
    """
    store.record_subnets(
        [
            SubnetRecord(
                subnet_id=identity,
                arch=arch,
                base_id=inputs.base.base_id,
                task_id=inputs.task.task_id,
                derivation=dict(derivation),
                study=study,
            )
        ]
    )


def record_shipment(
    store: Store,
    inputs: Inputs,
    shipment: Shipment,
    proven: Sequence[Proven],
    *,
    study: str,
    derivation: Mapping[str, object],
    scores: dict[str, float],
    seed: int,
) -> tuple[str, ...]:
    """Store the shipped subnet, its scores on the test split and a measurement per device; returns those's ids.

    Args:
        store: The database.
        inputs: Base and task.
        shipment: What is shipped.
        proven: A measurement for each device.
        study: Name of the search's study.
        derivation: Options that it was cut with, as stored.
        scores: On the test split, by kind.
        seed: Seed of the choice of images.
    """
    record_derived(store, inputs, shipment.arch, shipment.subnet_id, study=study, derivation=derivation)
    num_images = len(inputs.task.test)
    store.record_scores(
        ScoreRecord(shipment.subnet_id, kind, "test", num_images, seed, v) for kind, v in scores.items()
    )
    return tuple(store.save_measurement(one.measurement, subnet_id=shipment.subnet_id) for one in proven)


def record_tuned(store: Store, identity: str, tuned: Tuned) -> None:
    """Store a search's fine-tuning; nothing where there was none."""
    if tuned.result is not None and tuned.config is not None:
        record_finetuning(store, identity, tuned.config, tuned.result)


def record_finetuning(store: Store, identity: str, config: FinetuneConfig, result: FinetuneResult) -> None:
    """Store a fine-tuning of a recorded subnet.

    Args:
        store: The database.
        identity: A recorded subnet's id.
        config: How it was fine-tuned.
        result: What came of it.
    """
    store.record_finetune(
        FinetuneRecord(
            subnet_id=identity,
            settings=dataclasses.asdict(config),
            result={
                "top1_search_before": result.before.top1,
                "top1_search": result.after.top1,
                **({} if result.after.miou is None else {"miou_search": result.after.miou}),
                "best_step": result.outcome.best.step,
                "steps": result.outcome.steps,
                "num_images": result.after.num_images,
                "rollbacks": len(result.outcome.rollbacks),
                "stopped": result.outcome.stopped,
            },
            weights_hash=hash_tensors(result.student.state_dict()),
            seconds=result.seconds,
        )
    )


def record_bundle(store: Store, folder: Path, *, measurement_id: str | None) -> None:
    """Store where a recorded subnet's bundle lies, and its export, engine or build line, and certificate.

    Args:
        store: The database; it knows the device.
        folder: The bundle.
        measurement_id: Of the measurement in its certificate; None without one.
    """
    store.set_bundle(read_bundle(folder).subnet_id, str(folder.absolute()))
    record_certified(store, folder, measurement_id=measurement_id)


def record_certified(store: Store, folder: Path, *, measurement_id: str | None) -> None:
    """Store a bundle's export, engine or build line, and certificate; arguments as of ``record_bundle``.

    Of a bundle inside another, which holds the same subnet for a further device.
    """
    bundle = read_bundle(folder)
    store.forget_certificate(str((folder / CERTIFICATE).absolute()))
    certificate = bundle.certificate
    if bundle.onnx_path is None or certificate is None:
        return
    record_export(store, bundle)
    if certificate.budget is None:
        return
    store.record_certificate(
        CertificateRecord(
            subnet_id=bundle.subnet_id,
            device_id=certificate.device.device_id,
            budget_ms=certificate.budget.ms,
            verdict=certificate.verdict,
            content={"file": hash_file(folder / CERTIFICATE)},
            measurement_id=measurement_id,
            path=str((folder / CERTIFICATE).absolute()),
        )
    )


def record_export(store: Store, bundle: Bundle) -> None:
    """Store a bundle's ONNX model, and its engine or the line that builds it on the device it was exported for."""
    if bundle.onnx_path is None or bundle.certificate is None:
        return
    device = bundle.certificate.device
    onnx_hash = hash_file(bundle.onnx_path)
    # An engine's beside that of the graph it was built from, in the same precision.
    agreement: dict[str, Any] = {
        f"{a.check} engine" if a.artifact_sha256 else a.check: a.to_json() for a in bundle.certificate.agreements
    }
    store.record_export(
        ExportRecord(bundle.subnet_id, onnx_hash, str(bundle.onnx_path.absolute()), bundle.certificate.opset, agreement)
    )
    line = parts_from_bundle(bundle).build_line
    if line is not None:
        path = str(bundle.engine_path.absolute()) if bundle.engine_path else None
        store.record_engine(EngineRecord(onnx_hash, device.device_id, " ".join(line), path=path))


def optuna_url(store: Store) -> str:
    """Address of the database for Optuna, whose tables lie beside ours."""
    return store.url.render_as_string(hide_password=False)
