"""The main job: from a budget in milliseconds to a bundle that runs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import Device, Measurement
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.feasible import BudgetTooSmallError
from nuwa_search.search.request import SearchRequest, dict_from_request
from nuwa_search.search.trials import TrialReport
from nuwa_search.service.workflow import answer as parts
from nuwa_search.service.workflow.clock import PhaseClock
from nuwa_search.service.workflow.compete import choose_shipped
from nuwa_search.service.workflow.deadline import deadline_in
from nuwa_search.service.workflow.devices import opened_device
from nuwa_search.service.workflow.event_log import log_of_search
from nuwa_search.service.workflow.explain import explanation_of, picture_of
from nuwa_search.service.workflow.find import Finder, Found
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs, open_inputs, record_inputs
from nuwa_search.service.workflow.pricing import PROTOCOL, PricedDevice, priced_device
from nuwa_search.service.workflow.recorder import TrialRecorder
from nuwa_search.service.workflow.records import (
    optuna_url,
    record_bundle,
    record_shipment,
    record_trials,
)
from nuwa_search.service.workflow.ship import Proven, Shipment, check_bundle_dir, prove, write, write_unexported
from nuwa_search.service.workflow.winner import OPTIONS, Accuracies, Shipped, test_accuracies
from nuwa_search.store.heartbeat import Heartbeat
from nuwa_search.store.records import Claim, PredictedLatency, SearchState
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Args:
        answer: The `nuwa.search/1` document.
        base_arch: Arch of the base with the task's head, as JSON; None where nothing fits.
        error: What to end with where the answer is no.
        explanation: Why this arch, for people; empty unless asked for.
    """

    answer: dict[str, Any]
    base_arch: dict[str, Any] | None
    error: NuwaError | None = None
    explanation: str = ""


def run_search(
    request: SearchRequest, *, store: Store, study: str, resume: bool, cache_dir: Path, hooks: Hooks | None = None
) -> Outcome:
    """Search, fine-tune, export, verify, measure, and write the bundle; every step is recorded.

    Args:
        request: What is wanted.
        store: The database.
        study: Name of the study; exactly one process can run it.
        resume: Whether a study that was left may be continued.
        cache_dir: For statistics, libraries and checkpoints; may be deleted at any time.
        hooks: Who watches.

    Raises:
        NuwaError: If input is wrong or the study runs elsewhere.
        NoAnswerError: If the winner keeps missing the budget when measured, or its export is not right.
        KeyboardInterrupt: On Ctrl-C, with everything saved.
    """
    check_bundle_dir(Path(request.bundle_dir), study=study)
    inputs = open_inputs(request, store)
    record_inputs(inputs, store, label_column=request.label_column, seed=request.seed)
    claim = store.start_search(
        study,
        device_id=inputs.device.device_id,
        budget_ms=request.budget_ms,
        seed=request.seed,
        settings=dict_from_request(request),
        base_id=inputs.base.base_id,
        task_id=inputs.task.task_id,
        resume=resume,
    )
    log = log_of_search(store, study, wanted=request.trials)
    log.say("state", {"state": "running", "reason": ""})
    job = _Search(request, inputs, store, claim, cache_dir, log.hooks(hooks))
    with Heartbeat(store, claim):
        try:
            outcome = job.run()
        except BaseException as error:
            state: SearchState = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            store.finish_search(claim, state)
            log.say("state", {"state": state, "reason": str(error)})
            raise
        state = "done" if outcome.error is None else "infeasible"
        store.finish_search(claim, state, result=outcome.answer)
        log.say("state", {"state": state, "reason": outcome.error.message if outcome.error else ""})
    return outcome


SHIP_ROUNDS = 2
"""Rounds of search, fine-tuning and proof: the second follows where the shipped model itself measured too slow."""


class _Search:
    """One run of the main job."""

    def __init__(
        self, request: SearchRequest, inputs: Inputs, store: Store, claim: Claim, cache_dir: Path, hooks: Hooks
    ) -> None:
        self.request = request
        self.inputs = inputs
        self.store = store
        self.claim = claim
        self.cache_dir = cache_dir
        self.hooks = hooks
        self.clock = PhaseClock()

    def run(self) -> Outcome:
        """Do everything, with the device open."""
        with opened_device(self.inputs.device, seed=self.request.seed) as device:
            return self._run(device)

    def _run(self, device: Device) -> Outcome:
        request, inputs = self.request, self.inputs
        with self.clock.phase("profile"):
            priced = priced_device(
                self.store,
                inputs.device,
                inputs.base.arch,
                predictor_id=request.predictor_id or self._earlier_predictor(),
                progress=self.hooks.count,
            )
            self.store.set_search_predictor(self.claim, priced.predictor_id)
            base_measurement = self._measure_base(device)
        answer = parts.head_part(request, inputs, study=self.claim.study, predictor_id=priced.predictor_id)
        answer["base"] |= parts.base_part(base_measurement)
        budget = Budget(
            request.budget_ms,
            request.budget_statistic,
            max_memory_mb=request.max_memory_mb,
            relative_sd=priced.relative_sd,
        )
        answer["budget_binds"] = budget.check(base_measurement).exceeds("latency")
        self._say_priced(priced, base_measurement, binds=answer["budget_binds"])
        finder = self._finder(device, base_measurement, budget)
        try:
            base_fits = budget.check(base_measurement).is_met
            found, shipped, proven = self._find_and_prove(finder, priced, base_fits=base_fits)
        except BudgetTooSmallError as error:
            answer |= parts.infeasible_part(error)
            return Outcome(answer, None, error)
        outcome = self._ship(answer, found, shipped, proven, budget=budget)
        return self._explained(outcome, found) if request.explain else outcome

    def _find_and_prove(
        self, finder: Finder, priced: PricedDevice, *, base_fits: bool
    ) -> tuple[Found, Shipped, Proven]:
        """Search, fine-tune and measure what would be shipped; once more, corrected, where it misses the budget."""
        latency = priced.predictor
        recorder = self._recorder(priced)
        for remaining in reversed(range(SHIP_ROUNDS)):
            found = self._find(finder, latency, recorder=recorder)
            with self.clock.phase("finetune"):
                shipped = choose_shipped(
                    found,
                    finder,
                    cache_dir=self.cache_dir,
                    base_fits=base_fits,
                    has_small_model=remaining == SHIP_ROUNDS - 1,
                )
            with self.clock.phase("deploy"):
                shipment = self._shipment(shipped, facts=NO_FACTS)
                proven = prove(shipment, device=finder.device, search=self.inputs.tensors.search)
            verdict = finder.budget.check(proven.measurement)
            if verdict.is_met or not remaining:
                return found, shipped, proven
            median_ms = proven.measurement.latency_ms.median
            self.hooks.step(f"when shipped: {verdict.reason}; correcting and going on")
            latency = found.latency.corrected(shipped.arch, median_ms)
        raise AssertionError("the last round returns")

    def _explained(self, outcome: Outcome, found: Found) -> Outcome:
        budget_ms = self.request.budget_ms
        path = Path(outcome.answer["artifacts"]["dir"]) / "front.png"
        try:
            picture_of(found, path, budget_ms=budget_ms, title=self.claim.study)
            outcome.answer["artifacts"]["front"] = str(path)
        except NuwaError as error:  # matplotlib is an extra; a finished search is not lost for want of it
            self.hooks.step(f"no picture of the front: {error.message}; {error.hint}")
        return dataclasses.replace(outcome, explanation=explanation_of(found, budget_ms=budget_ms))

    def _earlier_predictor(self) -> str | None:
        """A resumed search goes on with the predictor it started from."""
        return self.claim.previous.predictor_id if self.claim.previous else None

    def _measure_base(self, device: Device) -> Measurement:
        spec = self.inputs.device
        model = onnx_from_vit(
            self.inputs.teacher.model, opset=spec.opset, precision=graph_precision(spec), batch=spec.batch
        )
        measurement = device.measure(model, protocol=PROTOCOL)
        self.store.save_measurement(measurement, arch=self.inputs.teacher.model.arch)
        return measurement

    def _finder(self, device: Device, base_measurement: Measurement, budget: Budget) -> Finder:
        with self.clock.phase("derive"):
            deriver = Deriver(
                self.inputs.teacher.model,
                self.inputs.tensors.train,
                self.inputs.base.preprocess,
                cache=Cache(self.cache_dir / "derive"),
                options=OPTIONS,
            )
            deriver.prepare()
        self.hooks.step(f"statistics of {len(self.inputs.task.train)} training images: every cut is a solve away")
        return Finder(
            request=self.request,
            inputs=self.inputs,
            store=self.store,
            device=device,
            cache=Cache(self.cache_dir / "search"),
            deriver=deriver,
            base_measurement=base_measurement,
            budget=budget,
            hooks=self.hooks,
            study_name=self.claim.study,
            storage_url=optuna_url(self.store),
            deadline=deadline_in(self.request.timeout_s),
        )

    def _recorder(self, priced: PricedDevice) -> TrialRecorder:
        def write(scored: Sequence[TrialReport]) -> None:
            record_trials(
                self.store,
                self.inputs,
                scored,
                study=self.claim.study,
                predictor_id=priced.predictor_id,
                provenance=priced.predictor.subject.provenance,
                options=OPTIONS,
                seed=self.request.seed,
            )

        return TrialRecorder(write)

    def _find(self, finder: Finder, latency: LatencyPredictor, *, recorder: TrialRecorder) -> Found:
        def on_trial(trial: TrialReport) -> None:
            recorder.add(trial)
            self.hooks.trial(trial)

        with self.clock.phase("search"):
            found = finder.find(latency, on_trial=on_trial)
            recorder.finish(found.study)
        trial = found.trial
        self.hooks.step(
            f"{found.study.num_evaluations} subnets scored of {len(found.study.trials)} proposed "
            f"({100 * found.study.feasible_share:.0f} % within the budget); best: {trial.predicted_latency_ms:.2f} ms "
            f"predicted, {found.measurement.latency_ms.median:.2f} ms {found.measurement.provenance}"
        )
        return found

    def _shipment(self, shipped: Shipped, *, facts: BundleFacts) -> Shipment:
        return Shipment(
            model=shipped.model,
            arch=shipped.arch,
            subnet_id=shipped.subnet_id,
            task=self.inputs.task,
            preprocess=self.inputs.base.preprocess,
            facts=facts,
        )

    def _ship(
        self, answer: dict[str, Any], found: Found, shipped: Shipped, proven: Proven, *, budget: Budget
    ) -> Outcome:
        request, inputs = self.request, self.inputs
        with self.clock.phase("deploy"):
            accuracy = test_accuracies(inputs, shipped)
            shipment = self._shipment(shipped, facts=self._facts(accuracy))
            bundle = self._write(shipment, proven, budget)
            prediction = found.latency.predict([shipped.arch])
            predicted = (float(prediction.value[0]), float(prediction.lower[0]), float(prediction.upper[0]))
            self._record(shipment, shipped, proven, accuracy, bundle)
            self._record_prediction(shipment, found, predicted, fitted_id=answer["predictor_id"])
        verdict = budget.check(proven.measurement)
        answer["feasible"] = verdict.is_met
        answer["shipped"] = shipped.kind
        answer["verdict"] = verdict.word
        answer["base"] |= {"top1_all_classes": accuracy.all_classes, "top1_restricted": accuracy.restricted}
        answer["subnet"] = parts.subnet_part(
            shipped.arch,
            subnet_id=shipped.subnet_id,
            predicted=predicted,
            measurement=proven.measurement,
            accuracy={"top1_derived": accuracy.derived, "top1": accuracy.shipped},
        )
        answer["artifacts"] = parts.artifacts_part(bundle)
        answer["trials"] = parts.trials_part(found.study)
        answer["repairs"] = found.repairs
        if request.pareto:
            answer["front"] = parts.front_part(found.study)
        answer["seconds"] = self.clock.part("profile", "derive", "search", "finetune", "deploy")
        error = None
        if not verdict.is_met:
            error = NoAnswerError(
                f"the winner misses the budget as it was shipped: {verdict.reason}",
                hint=f"profile the device again: nuwa profile {inputs.device.name}",
            )
        return Outcome(answer, dict_from_arch(inputs.teacher.model.arch), error)

    def _record(self, shipment: Shipment, shipped: Shipped, proven: Proven, accuracy: Accuracies, bundle: Path) -> None:
        measurement_id = record_shipment(
            self.store,
            self.inputs,
            shipment,
            proven,
            study=self.claim.study,
            derivation=shipped.derivation,
            scores={"top1": accuracy.shipped, "top1_derived": accuracy.derived},
            seed=self.request.seed,
        )
        record_bundle(self.store, bundle, measurement_id=measurement_id)

    def _record_prediction(
        self, shipment: Shipment, found: Found, predicted: tuple[float, float, float], *, fitted_id: str
    ) -> None:
        """Store what the winner was predicted to take: by the fitted predictor, or by one that misses corrected."""
        known_id = found.latency.predictor_id
        self.store.record_predicted_latencies(
            [
                PredictedLatency(
                    subnet_id=shipment.subnet_id,
                    device_id=self.inputs.device.device_id,
                    predicted_latency_ms=predicted[0],
                    predicted_interval_ms=predicted[1:],
                    predictor_id=known_id if known_id == fitted_id else None,
                    provenance=found.latency.subject.provenance,
                )
            ]
        )

    def _write(self, shipment: Shipment, proven: Proven, budget: Budget) -> Path:
        folder = Path(self.request.bundle_dir)
        if not self.request.deploy:
            return write_unexported(folder, shipment).dir
        bundle = write(
            folder,
            shipment,
            proven,
            spec=self.inputs.device,
            budget=budget,
        )
        return bundle.dir

    def _facts(self, accuracy: Accuracies) -> BundleFacts:
        return BundleFacts(
            base=self.inputs.base.name,
            base_id=self.inputs.base.base_id,
            data=self.inputs.task.data,
            label_column=self.request.label_column,
            task_id=self.inputs.task.task_id,
            study=self.claim.study,
            top1=accuracy.shipped,
            top1_derived=accuracy.derived,
            base_top1_restricted=accuracy.restricted,
            base_top1_all_classes=accuracy.all_classes,
            split="test",
            search_split_seen_by_base=self.inputs.task.search_split_seen_by_base,
        )

    def _say_priced(self, priced: PricedDevice, base: Measurement, *, binds: bool) -> None:
        if priced.profiled is not None:
            done = priced.profiled
            self.hooks.step(
                f"profiled {priced.spec.name}: {done.rows_added} table rows, {done.models_measured} whole models, "
                f"error on {done.report.num_heldout} held-out models {100 * done.report.errors.mape:.1f} %"
            )
        rest = "" if binds else "; it meets the budget already, so the budget does not bind"
        self.hooks.step(f"base: {base.latency_ms.median:.2f} ms {base.provenance} on {priced.spec.name}{rest}")
