"""The tracking tools: each loads its package when a run begins."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from nuwa_search.lab.tracking.tracker import SettingOfRun, Status

PROJECT = "nuwa-search"
"""Project or experiment of runs that name none."""
TENSORBOARD_DIR = "runs/tensorboard"
MAX_PARAM = 500
"""Characters of one parameter that every MLflow server of 2 and 3 takes; a list of many classes has more."""


class TensorboardTracker:
    """Event files for TensorBoard, by torch's writer: a folder per run.

    Args:
        where: Folder of all runs; empty for ``TENSORBOARD_DIR``.
    """

    def __init__(self, where: str) -> None:
        self._folder = Path(where or TENSORBOARD_DIR)
        self._writer: Any = None

    def begin(self, name: str, settings: Mapping[str, SettingOfRun]) -> None:
        self._writer = import_module("torch.utils.tensorboard").SummaryWriter(str(self._folder / name))
        rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def end(self, status: Status) -> None:
        self._writer.add_text("status", status)
        self._writer.close()


class MlflowTracker:
    """A run of MLflow.

    Args:
        where: Tracking URI; empty for ``MLFLOW_TRACKING_URI`` or MLflow's own default.
    """

    _WORDS: Mapping[Status, str] = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

    def __init__(self, where: str) -> None:
        self._where = where
        self._mlflow: Any = None

    def begin(self, name: str, settings: Mapping[str, SettingOfRun]) -> None:
        self._mlflow = import_module("mlflow")
        if self._where:
            self._mlflow.set_tracking_uri(self._where)
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params({key: _cut(value) for key, value in settings.items()})

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        self._mlflow.log_metrics(dict(numbers), step=step)

    def end(self, status: Status) -> None:
        self._mlflow.end_run(status=self._WORDS[status])


def _cut(value: SettingOfRun) -> SettingOfRun:
    return f"{value[: MAX_PARAM - 1]}…" if isinstance(value, str) and len(value) > MAX_PARAM else value


class WandbTracker:
    """A run of Weights & Biases, or of trackio, which has the same calls.

    A run there has one count of steps that only rises: the step within a stage is logged beside the numbers instead.

    Args:
        module: ``wandb`` or ``trackio``.
        where: Project; empty for ``PROJECT``.
    """

    def __init__(self, module: str, where: str) -> None:
        self._name, self._where = module, where
        self._module: Any = None

    def begin(self, name: str, settings: Mapping[str, SettingOfRun]) -> None:
        self._module = import_module(self._name)
        self._module.init(project=self._where or PROJECT, name=name, config=dict(settings))

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        steps = {f"{name.partition('/')[0]}/step": step for name in numbers}
        self._module.log({**numbers, **steps})

    def end(self, status: Status) -> None:
        self._module.log({"is_done": int(status == "done")})
        self._module.finish()
