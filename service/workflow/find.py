"""Search for the best subnet within the budget: library, study, and a measurement that may correct the predictor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import Device, DeviceSpec, Measurement
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.peak_memory import BYTES_PER_MB
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.predictors.contract import Predictor
from nuwa_search.predictors.latency.predictor import LatencyPredictor
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.feasible import MemoryLimit
from nuwa_search.search.finalists import pick_finalists, rank_finalists, refiner_of
from nuwa_search.search.library import Library
from nuwa_search.search.repair import RepairRound, verify_and_repair
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import Score, TeacherScorer
from nuwa_search.search.space import SearchSpace, space_from_base
from nuwa_search.search.trials import StudyConfig, StudyResult, TrialReport
from nuwa_search.service.workflow.deadline import Deadline
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs
from nuwa_search.service.workflow.library import cached_library
from nuwa_search.service.workflow.pricing import PROTOCOL
from nuwa_search.store.store import Store

EXTRA_TRIALS = 8
"""Subnets that the study may score beyond the request's trials each time a measured winner missed the budget."""
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
    """A trial and the subnet derived and refined for it."""

    trial: TrialReport
    model: PlainViT


@dataclass(frozen=True)
class Found:
    """What the search settled on.

    Args:
        trial: The winner as the study saw it.
        model: Derived from the base and refined, not fine-tuned.
        measurement: Of its exported graph on the device.
        study: All proposals.
        space: What could be proposed.
        library: Single replacements that led to it.
        latency: The predictor as it stands after corrections.
        repairs: Rounds in which a measured miss corrected the predictor.
    """

    trial: TrialReport
    model: PlainViT
    measurement: Measurement
    study: StudyResult
    space: SearchSpace
    library: Library
    latency: LatencyPredictor
    repairs: int


@dataclass(frozen=True)
class Finder:
    """Everything that one search hands around."""

    request: SearchRequest
    inputs: Inputs
    store: Store
    device: Device
    cache: Cache
    deriver: Deriver
    base_measurement: Measurement
    budget: Budget
    hooks: Hooks
    study_name: str
    storage_url: str | None
    deadline: Deadline

    def find(self, latency: LatencyPredictor, *, on_trial: Callable[[TrialReport], None]) -> Found:
        """Run the study, measure its winner, and go on with a corrected predictor while it misses.

        Args:
            latency: Predictor to start from.
            on_trial: Called after each recorded proposal.

        Raises:
            BudgetTooSmallError: If nothing in the space fits.
            NoAnswerError: If the winner still misses the budget after the last correction.
        """
        space = space_from_base(self.inputs.teacher.model.arch)
        scorer = TeacherScorer(
            self.inputs.teacher.model, self.inputs.tensors.search, self.inputs.base.preprocess, seed=self.request.seed
        )
        ends = self.deadline.part(SEARCH_SHARE)
        library = self._library(space, scorer, ends=ends.part(LIBRARY_SHARE))

        def study(prices: LatencyPredictor, ends: Deadline) -> StudyResult:
            extra = len(studies) * EXTRA_TRIALS
            return self._study(space, scorer, library, prices, extra=extra, ends=ends, on_trial=on_trial)

        studies: list[StudyResult] = []
        studies.append(study(latency, ends))
        refined: dict[Arch, Score] = {}

        def search_on(corrected: LatencyPredictor) -> Winner | None:
            studies.append(study(corrected, self.deadline.part(SEARCH_SHARE)))
            return self._winner(studies[-1], scorer, refined)

        first = self._winner(studies[0], scorer, refined)
        if first is None:
            raise NuwaError(
                "the study ended before any subnet that fits was scored", hint="give it more --trials or --timeout-s"
            )
        repaired = verify_and_repair(
            first,
            arch_of=lambda winner: winner.trial.arch,
            measure=lambda winner: self.measure(winner.model),
            search_on=search_on,
            latency=latency,
            budget_ms=self.request.budget_ms,
            statistic=self.request.budget_statistic,
            on_round=self._say_round,
        )
        if not repaired.is_met:
            raise NoAnswerError(
                f"no subnet met {self.request.budget_ms:g} ms when measured: {repaired.reason}",
                hint=f"profile the device again: nuwa profile {self.inputs.device.name}",
            )
        return Found(
            trial=repaired.winner.trial,
            model=repaired.winner.model,
            measurement=repaired.rounds[-1].measurement,
            study=studies[-1],
            space=space,
            library=library,
            latency=repaired.latency,
            repairs=len(repaired.rounds) - 1,
        )

    def _winner(self, study: StudyResult, scorer: TeacherScorer, refined: dict[Arch, Score]) -> Winner | None:
        """Refine a few of the study's best and take the best of them."""
        if study.best is None:
            return None
        finalists = rank_finalists(
            pick_finalists(study),
            refiner=refiner_of(self.deriver),
            scorer=scorer,
            known=refined,
            should_stop=self.deadline.part(FINALISTS_SHARE).is_over,
        )
        best = finalists[0]
        self.hooks.step(
            f"best of {len(finalists)} refined: KL {best.refined.kl:.3f}, {best.trial.kl or 0.0:.3f} before"
        )
        return Winner(best.trial, self.deriver.derive_refined(best.trial.arch))

    def _say_round(self, round_: RepairRound) -> None:
        measured = {"arch_id": round_.arch.arch_id, "measured_ms": round_.measured_ms, "is_met": round_.is_met}
        self.store.add_event(self.study_name, "winner-measured", measured)
        if not round_.is_met:
            self.hooks.step(
                f"measured {round_.measured_ms:.2f} ms, over the budget: "
                "the predictor is corrected and the search goes on"
            )

    def measure(self, model: PlainViT) -> Measurement:
        """Measure the exported graph of ``model`` on the device."""
        return self.device.measure(exported(model, self.inputs.device), protocol=PROTOCOL)

    def _library(self, space: SearchSpace, scorer: TeacherScorer, *, ends: Deadline) -> Library:
        return cached_library(
            self.inputs,
            space=space,
            deriver=self.deriver,
            scorer=scorer,
            cache=self.cache,
            seed=self.request.seed,
            hooks=self.hooks,
            should_stop=ends.is_over,
        )

    def _study(
        self,
        space: SearchSpace,
        scorer: TeacherScorer,
        library: Library,
        latency: Predictor,
        *,
        extra: int,
        ends: Deadline,
        on_trial: Callable[[TrialReport], None],
    ) -> StudyResult:
        request, inputs = self.request, self.inputs
        left_s = ends.left_s()
        config = StudyConfig(
            trials=request.trials + extra,
            timeout_s=None if left_s is None else max(LEAST_STUDY_S, left_s),
            sampler=request.sampler,
            seed=request.seed,
            pareto=request.pareto,
            num_workers=request.workers,
        )
        return run_study(
            space,
            deriver=self.deriver,
            scorer=scorer,
            latency=latency,
            budget_ms=self.budget.median_limit_ms(self.budget.tail(self.base_measurement.latency_ms)),
            config=config,
            library=library,
            memory=self._memory_limit(),
            storage_url=self.storage_url,
            study_name=self.study_name,
            identity={
                "base": inputs.base.base_id,
                "task": inputs.task.task_id,
                "device": inputs.device.device_id,
                "budget_ms": f"{request.budget_ms:g}",
            },
            on_trial=on_trial,
        )

    def _memory_limit(self) -> MemoryLimit | None:
        limit_mb = self.request.max_memory_mb
        if limit_mb is None:
            return None
        peak_mb = self.base_measurement.peak_memory_mb
        if peak_mb is None:
            raise NuwaError(
                f"device {self.inputs.device.name} does not tell its peak memory", hint="leave --max-memory-mb out"
            )
        return memory_limit(limit_mb, base=self.inputs.teacher.model.arch, base_peak_mb=peak_mb, spec=self.device.spec)


def memory_limit(limit_mb: float, *, base: Arch, base_peak_mb: float, spec: DeviceSpec) -> MemoryLimit:
    """Limit peak memory, estimated as that of the base less the weights that were cut.

    Activations are counted as the base's: an upper bound, so that the limit holds.
    """
    weight_bytes = {"fp32": 4, "fp16": 2, "int8": 1}[spec.precision]
    base_params = count_params(base)

    def estimate(archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
        saved = np.array([base_params - count_params(arch) for arch in archs], dtype=np.float64)
        return base_peak_mb - saved * weight_bytes / BYTES_PER_MB

    return MemoryLimit(limit_mb, estimate)


def exported(model: PlainViT, spec: DeviceSpec) -> onnx.ModelProto:
    """Export ``model`` as the device takes it."""
    return onnx_from_vit(model, opset=spec.opset, precision=graph_precision(spec), batch=spec.batch)
