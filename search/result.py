"""The answer of a search: what was asked, what it starts from, and how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nuwa_search.core.arch import Arch, dict_from_arch
from nuwa_search.core.budget import Budget, Verdict
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.device import DeviceSpec, Measurement, device_json
from nuwa_search.core.img_size import json_from_img_size
from nuwa_search.core.metric import Metric
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.core.tasks.scores import TaskScores
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.search.base_sizes import BaseAtSize
from nuwa_search.search.budget_part import BudgetPart
from nuwa_search.search.lost_images import LostImages
from nuwa_search.search.step_table import step_of
from nuwa_search.search.trials import StudyResult, TrialReport

SCHEMA = "nuwa.search/1"

ShippedKind = Literal["subnet", "base", "small-model"]


@dataclass(frozen=True)
class TaskPart:
    """Images and classes; ``search_split_seen_by_base`` is None if unknown; ``notes`` say what was left out."""

    data: str
    classes: tuple[str, ...]
    num_train: int
    num_search: int
    num_test: int
    search_split_seen_by_base: bool | None
    head_fitted: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BaseAccuracies:
    """Scores on the test split; ``all_classes`` is None where the base lacks the classes."""

    all_classes: ClassScores | None
    restricted: TaskScores

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Render the accuracies, each with its interval."""
        whole = self.all_classes
        return {
            "top1_all_classes": whole.top1 if whole else None,
            "top1_restricted": self.restricted.top1,
            "top1_all_classes_interval": list(whole.top1_interval) if whole else None,
            "top1_restricted_interval": _listed(self.restricted.top1_interval),
            "num_images": self.restricted.num_images,
            **self.restricted.of_classes(class_names).to_json(),
        }


@dataclass(frozen=True)
class BasePart:
    """What was cut.

    Args:
        name: As it was named.
        arch: With its own head.
        measurement: On the device, with the task's head.
        accuracies: None where the test split was not opened.
        at_sizes: The base at every image size that was searched, its own first; empty where that is the only one.
    """

    name: str
    arch: Arch
    measurement: Measurement
    accuracies: BaseAccuracies | None = None
    at_sizes: tuple[BaseAtSize, ...] = ()

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Render the ``base`` part."""
        return {
            "name": self.name,
            "arch_id": self.arch.arch_id,
            "params": count_params(self.arch),
            "macs": count_macs(self.arch),
            "latency_ms": self.measurement.latency_ms.median,
            "provenance": self.measurement.provenance,
            "board_interval_ms": _board_interval(self.measurement),
            "img_size": json_from_img_size(self.arch.img_size),
            "at_sizes": [one.to_json() for one in self.at_sizes],
        } | (self.accuracies.to_json(class_names) if self.accuracies else {})


@dataclass(frozen=True)
class SubnetPart:
    """What is shipped.

    Args:
        arch: Positional.
        subnet_id: Its id.
        predicted_latency_ms: Latency in milliseconds by the predictor with all corrections.
        predicted_interval_ms: Lower and upper end.
        measurement: Measurement on the device, as shipped.
        derived: Scores on the test split before fine-tuning.
        scores: Scores on the test split as shipped.
    """

    arch: Arch
    subnet_id: str
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float]
    measurement: Measurement
    derived: TaskScores
    scores: TaskScores

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Render the ``subnet`` part."""
        found = self.measurement
        return {
            "arch_id": self.arch.arch_id,
            "subnet_id": self.subnet_id,
            "img_size": json_from_img_size(self.arch.img_size),
            "arch": dict_from_arch(self.arch),
            "params": count_params(self.arch),
            "macs": count_macs(self.arch),
            "predicted_latency_ms": self.predicted_latency_ms,
            "predicted_interval_ms": list(self.predicted_interval_ms),
            "board_interval_ms": _board_interval(found),
            "measured_latency_ms": found.latency_ms.median,
            "measured_p95_ms": found.latency_ms.p95,
            "measured_p99_ms": found.latency_ms.p99,
            "measured_peak_memory_mb": found.peak_memory_mb,
            "provenance": found.provenance,
            "top1_derived": self.derived.top1,
            "top1": self.scores.top1,
            "split": "test",
            "top1_derived_interval": _listed(self.derived.top1_interval),
            "top1_interval": _listed(self.scores.top1_interval),
            "num_images": self.scores.num_images,
            **self.scores.of_classes(class_names).to_json(),
            **_pixels_derived(self.derived),
        }


@dataclass(frozen=True)
class Artifacts:
    """Where the bundle's files are; None for what was not made."""

    dir: Path
    weights: Path
    onnx: Path | None
    engine: Path | None
    build: Path | None
    certificate: Path | None
    front: Path | None = None

    def to_json(self) -> dict[str, str | None]:
        """Render the ``artifacts`` part; a picture of the front is named only where one was drawn."""
        values = {name: None if path is None else str(path) for name, path in vars(self).items()}
        if self.front is None:
            del values["front"]
        return values


def artifacts_from_bundle(bundle: Bundle) -> Artifacts:
    """Return where the files of a bundle are."""
    return Artifacts(
        dir=bundle.dir,
        weights=bundle.weights_path,
        onnx=bundle.onnx_path,
        engine=bundle.engine_path,
        build=bundle.build_path,
        certificate=bundle.dir / CERTIFICATE if bundle.certificate else None,
    )


@dataclass(frozen=True)
class FrontPoint:
    """A scored subnet that no other beats in both latency and KL.

    Args:
        trial: The subnet as the study scored it.
        subnet_id: The net that was scored; an arch id forgets which blocks of the base are gone.
        derive_command: Cuts exactly that net again.
    """

    trial: TrialReport
    subnet_id: str
    derive_command: str

    def to_json(self) -> dict[str, Any]:
        """Render one point of the ``front``."""
        return {
            "arch_id": self.trial.arch.arch_id,
            "img_size": json_from_img_size(self.trial.arch.img_size),
            "predicted_latency_ms": self.trial.predicted_latency_ms,
            "predicted_interval_ms": list(self.trial.predicted_interval_ms),
            "kl_to_teacher": self.trial.kl,
            "top1_search": self.trial.top1_search,
            "top1_search_interval": interval_of_share(self.trial.top1_search, self.trial.num_images),
            "num_images": self.trial.num_images,
            "subnet_id": self.subnet_id,
            "derive_command": self.derive_command,
        }


@dataclass(frozen=True)
class TrialCounts:
    """Proposals of a study: all, within the limits by prediction, really scored, known already, failed."""

    total: int
    feasible: int
    scored: int
    duplicates: int
    failed: int


def counts_from_study(study: StudyResult) -> TrialCounts:
    """Count the proposals of a study."""
    return TrialCounts(
        total=len(study.trials),
        feasible=study.num_feasible,
        scored=study.num_evaluations,
        duplicates=sum(trial.state == "duplicate" for trial in study.trials),
        failed=study.num_failed,
    )


@dataclass(frozen=True)
class Fastest:
    """An ending: nothing fits by prediction, and this is the fastest there is."""

    arch: Arch
    predicted_latency_ms: float

    is_feasible = False

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:  # noqa: ARG002 - as the other endings
        """Render what this ending adds."""
        return {"fastest": {"arch_id": self.arch.arch_id, "predicted_latency_ms": self.predicted_latency_ms}}


@dataclass(frozen=True)
class Missed:
    """An ending: every winner missed a limit when it was measured, and nothing is shipped.

    Args:
        verdict: Verdict of the budget on the last winner.
        trials: Proposals.
        repairs: Misses after which the search went on.
        fastest: What is left by the corrected predictors, where nothing fits by them any more.
    """

    verdict: Verdict
    trials: TrialCounts
    repairs: int
    fastest: Fastest | None = None

    is_feasible = False

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Render what this ending adds."""
        return {
            **(self.fastest.to_json(class_names) if self.fastest else {}),
            "verdict": self.verdict.word,
            "verdict_reason": self.verdict.reason,
            "trials": asdict(self.trials),
            "repairs": self.repairs,
        }


@dataclass(frozen=True)
class Delivered:
    """An ending: a bundle is written.

    Args:
        kind: What was shipped.
        verdict: Verdict of the budget on what is shipped.
        subnet: What is shipped, with its figures.
        artifacts: Its bundle.
        trials: Proposals.
        repairs: Misses after which the search went on.
        front: Scored subnets that no other beats in both latency and KL; None where it was not asked for.
        lost: Test images that the base had right and what is shipped has wrong.
        bundles: Bundle of each device, the first's first; one where nothing was deployed.
    """

    kind: ShippedKind
    verdict: Verdict
    subnet: SubnetPart
    artifacts: Artifacts
    trials: TrialCounts
    repairs: int
    front: tuple[FrontPoint, ...] | None
    lost: LostImages
    bundles: tuple[Bundle, ...] = ()

    @property
    def is_feasible(self) -> bool:
        """Whether what is shipped keeps the budget."""
        return self.verdict.is_met

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Render what this ending adds."""
        values: dict[str, Any] = {
            "shipped": self.kind,
            "verdict": self.verdict.word,
            "verdict_reason": self.verdict.reason,
            "subnet": self.subnet.to_json(class_names),
            "artifacts": self.artifacts.to_json(),
            "trials": asdict(self.trials),
            "repairs": self.repairs,
            "lost_images": self.lost.to_json(),
        }
        if self.front is not None:
            values["front"] = [point.to_json() for point in self.front]
        return values


@dataclass(frozen=True)
class SearchResult:
    """The answer of a search; ``to_json`` is the ``nuwa.search/1`` document.

    Args:
        study: Its name.
        budget: Of the request.
        budget_binds: Whether the base is slower than the budget.
        seed: Seed of everything random.
        predictor_id: Latency predictor that it started from.
        device: What the budget is about.
        task: Images and classes.
        base: What was cut.
        ending: How it ended.
        seconds: By stage, and in all.
        metric: By which accuracy head and winner were chosen.
        kept: Parts of the base that were not to be cut.
        budgets: Every device with its budget, ``device`` and ``budget`` among them as the first.
    """

    study: str
    budget: Budget
    budget_binds: bool
    seed: int
    predictor_id: str
    device: DeviceSpec
    task: TaskPart
    base: BasePart
    ending: Fastest | Missed | Delivered
    seconds: Mapping[str, float]
    metric: Metric = "top1"
    kept: tuple[str, ...] = ()
    budgets: tuple[BudgetPart, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Render the document."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "feasible": self.ending.is_feasible,
            "budget_ms": self.budget.ms,
            "budget_binds": self.budget_binds,
            "budget_statistic": self.budget.statistic,
            "seed": self.seed,
            "predictor_id": self.predictor_id,
            "device": device_json(self.device),
            "task": asdict(self.task) | {"classes": list(self.task.classes)},
            "base": self.base.to_json(self.task.classes),
            "metric": self.metric,
            "kept": list(self.kept),
            "budgets": [part.to_json() for part in self.budgets],
            **self.ending.to_json(self.task.classes),
            **self._steps(),
            "seconds": dict(self.seconds),
        }

    def _steps(self) -> dict[str, Any]:
        """Render what each step did to a net that answers for pixels; nothing where images have classes."""
        found, base = self.base.accuracies, self.base
        if not isinstance(self.ending, Delivered) or found is None or not isinstance(found.restricted, PixelScores):
            return {}
        ours, headed = self.ending.subnet, replace(base.arch, num_classes=len(self.task.classes), global_pool="patches")
        rows = [step_of("base", found.restricted, base.measurement, arch=headed)]
        is_cut = self.ending.kind == "subnet"
        if is_cut and isinstance(ours.derived, PixelScores) and isinstance(ours.scores, PixelScores):
            rows.append(step_of("derived", ours.derived, ours.measurement, arch=ours.arch))
            rows.append(step_of("distilled", ours.scores, ours.measurement, arch=ours.arch))
        return {"steps": [row.to_json() for row in rows]}


def _listed(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)


def _pixels_derived(scores: TaskScores) -> dict[str, Any]:
    """Render what pixels scored before fine-tuning; nothing where images have classes."""
    if not isinstance(scores, PixelScores):
        return {}
    return {"miou_derived": scores.miou, "miou_derived_interval": list(scores.miou_interval)}


def _board_interval(measurement: Measurement) -> list[float] | None:
    found = measurement.board_interval_ms
    return None if found is None else list(found)
