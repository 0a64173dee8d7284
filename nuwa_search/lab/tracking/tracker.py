"""What a tracker of experiments does for a job, and which there are."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.suggest import unknown_name

Status = Literal["done", "failed", "interrupted"]
SettingOfRun = str | int | float | bool | None


class Tracker(Protocol):
    """Where a job's numbers go: one run of a tracking tool.

    Its methods are called one at a time, by the thread that runs the job: ``begin`` once, ``log`` any number of times,
    ``end`` once, also where the job fails.
    """

    def begin(self, name: str, settings: Mapping[str, SettingOfRun]) -> None:
        """Open a run of that name, and keep what the job was asked for."""

    def log(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Keep numbers by their names, such as ``trial/kl``; ``step`` counts within what stands before the slash."""

    def end(self, status: Status) -> None:
        """Close the run."""


@dataclass(frozen=True)
class TrackerKind:
    """One tracking tool.

    Args:
        module: Its package, imported where it is used.
        extra: Of this project, which installs it.
        where: What stands after the colon in ``--log-to NAME:WHERE``, in words.
    """

    module: str
    extra: str
    where: str


TRACKERS = {
    "tensorboard": TrackerKind("tensorboard", "tensorboard", "a folder; without one runs/tensorboard"),
    "mlflow": TrackerKind("mlflow", "mlflow", "a tracking URI; without one MLflow's own default"),
    "wandb": TrackerKind("wandb", "wandb", "a project; without one nuwa-search"),
    "trackio": TrackerKind("trackio", "trackio", "a project; without one nuwa-search"),
}


def tracker_place(text: str) -> tuple[str, str]:
    """Split ``NAME[:WHERE]`` and see that the tool is installed, without loading it.

    Args:
        text: A name in ``TRACKERS``, alone or with where its runs go.

    Raises:
        NuwaError: If there is no such tool, or it is not installed.
    """
    name, _, where = text.partition(":")
    if name not in TRACKERS:
        raise unknown_name("tracker", name, list(TRACKERS))
    kind = TRACKERS[name]
    if importlib.util.find_spec(kind.module) is None:
        raise NuwaError(
            f"{name} was asked for with --log-to and is not installed", hint=f"pip install 'nuwa-search[{kind.extra}]'"
        )
    return name, where


def open_tracker(text: str) -> Tracker:
    """Make the tracker that ``NAME[:WHERE]`` names; its run begins with ``begin``.

    Raises:
        NuwaError: As ``tracker_place``.
    """
    from nuwa_search.lab.tracking.tools import MlflowTracker, TensorboardTracker, WandbTracker

    name, where = tracker_place(text)
    makers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorboardTracker(where),
        "mlflow": lambda: MlflowTracker(where),
        "wandb": lambda: WandbTracker("wandb", where),
        "trackio": lambda: WandbTracker("trackio", where),
    }
    return makers[name]()
