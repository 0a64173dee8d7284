"""The `nuwa.search/1` answer, put together from what a search found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch, dict_from_arch
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.device import Measurement, device_json
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.search.feasible import BudgetTooSmallError
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.trials import StudyResult
from nuwa_search.service.workflow.inputs import Inputs

SCHEMA = "nuwa.search/1"


def head_part(request: SearchRequest, inputs: Inputs, *, study: str, predictor_id: str) -> dict[str, Any]:
    """Say what was asked, of which device, base and task."""
    base, task = inputs.base, inputs.task
    return {
        "schema": SCHEMA,
        "study": study,
        "feasible": False,
        "budget_ms": request.budget_ms,
        "budget_binds": True,
        "budget_statistic": request.budget_statistic,
        "seed": request.seed,
        "predictor_id": predictor_id,
        "device": device_json(inputs.device),
        "task": {
            "data": task.data,
            "classes": list(task.class_names),
            "num_train": len(task.train),
            "num_search": len(task.search),
            "num_test": len(task.test),
            "search_split_seen_by_base": task.search_split_seen_by_base,
            "head_fitted": inputs.teacher.has_fitted_head,
        },
        "base": {
            "name": base.name,
            "arch_id": base.arch.arch_id,
            "params": count_params(base.arch),
            "macs": count_macs(base.arch),
        },
    }


def infeasible_part(error: BudgetTooSmallError) -> dict[str, Any]:
    """Say that nothing fits, and what would be fastest."""
    return {
        "feasible": False,
        "fastest": {"arch_id": error.fastest.arch_id, "predicted_latency_ms": error.predicted_latency_ms},
    }


def subnet_part(
    arch: Arch,
    *,
    subnet_id: str,
    predicted: tuple[float, float, float],
    measurement: Measurement,
    accuracy: Mapping[str, float],
) -> dict[str, Any]:
    """Describe the winner.

    Args:
        arch: Positional.
        subnet_id: Its id.
        predicted: Point prediction, lower and upper end, in milliseconds.
        measurement: On the device.
        accuracy: ``top1_derived`` and ``top1``, fractions on the test split.
    """
    value, low, high = predicted
    return {
        "arch_id": arch.arch_id,
        "subnet_id": subnet_id,
        "arch": dict_from_arch(arch),
        "params": count_params(arch),
        "macs": count_macs(arch),
        "predicted_latency_ms": value,
        "predicted_interval_ms": [low, high],
        "board_interval_ms": None if measurement.board_interval_ms is None else list(measurement.board_interval_ms),
        "measured_latency_ms": measurement.latency_ms.median,
        "measured_p95_ms": measurement.latency_ms.p95,
        "measured_p99_ms": measurement.latency_ms.p99,
        "measured_peak_memory_mb": measurement.peak_memory_mb,
        "provenance": measurement.provenance,
        **accuracy,
        "split": "test",
    }


def trials_part(study: StudyResult) -> dict[str, Any]:
    """Count proposals: all, feasible by prediction, really scored, failed."""
    return {
        "total": len(study.trials),
        "feasible": study.num_feasible,
        "scored": study.num_evaluations,
        "duplicates": sum(trial.state == "duplicate" for trial in study.trials),
        "failed": study.num_failed,
    }


def front_part(study: StudyResult) -> list[dict[str, Any]]:
    """List the scored subnets that no other beats in both latency and KL."""
    return [
        {
            "arch_id": trial.arch.arch_id,
            "predicted_latency_ms": trial.predicted_latency_ms,
            "predicted_interval_ms": list(trial.predicted_interval_ms),
            "kl_to_teacher": trial.kl,
            "top1_search": trial.top1_search,
        }
        for trial in study.front
    ]


def base_part(measurement: Measurement) -> dict[str, Any]:
    """Latency of the base on the device."""
    board = measurement.board_interval_ms
    return {
        "latency_ms": measurement.latency_ms.median,
        "provenance": measurement.provenance,
        "board_interval_ms": None if board is None else list(board),
    }


def artifacts_part(folder: Path) -> dict[str, str | None]:
    """Say where the bundle's files are; None for what was not made."""
    bundle = read_bundle(folder)
    return {
        "dir": str(folder),
        "weights": str(bundle.weights_path),
        "onnx": str(bundle.onnx_path) if bundle.onnx_path else None,
        "engine": str(bundle.engine_path) if bundle.engine_path else None,
        "build": str(bundle.build_path) if bundle.build_path else None,
        "certificate": str(folder / CERTIFICATE) if bundle.certificate else None,
    }
