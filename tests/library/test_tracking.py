"""Trackers: one callback for all tools, which loses no job and says what it cannot do."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError, NuwaWarning, OutsideError
from nuwa_search.deploy.train.outcome import Progress, ScoredWeights
from nuwa_search.deploy.train.score import SplitScore
from nuwa_search.lab.event import hooks_of
from nuwa_search.lab.tracking.track import track
from nuwa_search.lab.tracking.tracker import tracker_place
from nuwa_search.search.hooks import Hooks, joined
from nuwa_search.search.trials import TrialReport
from nuwa_search.service.cli.main import cli, run

ARCH = Arch((BlockSpec(2, 8, 8, 32),), embed_dim=16, num_classes=3, img_size=16, patch_size=8)
TRIAL = TrialReport(4, ARCH, "sampler", "scored", 3.5, (3.0, 4.0), kl=0.25, top1_search=0.5, seconds=0.1)
FINETUNE = Progress(
    20, 100, {"loss": 1.5, "kd": float("nan")}, 1e-4, ScoredWeights(0, "model", SplitScore(0.75, None, 1.0)), 2.0, 64.0
)


class PlayedTool(ModuleType):
    """Stands in for a tool's package: keeps every call."""

    def __init__(self, name: str, *, failing: str = "") -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.failing = failing
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*values: Any, **named: Any) -> None:
            sys.stdout.write(f"* {name}\n")  # as trackio does
            if name == self.failing:
                raise ConnectionError("no server")
            self.calls.append((name, values, named))

        return call


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, PlayedTool]:
    made = {name: PlayedTool(name) for name in ("wandb", "trackio", "mlflow", "tensorboard")}
    for name, tool in made.items():
        monkeypatch.setitem(sys.modules, name, tool)
    writer = made["tensorboard"]
    monkeypatch.setitem(
        sys.modules,
        "torch.utils.tensorboard",
        SimpleNamespace(SummaryWriter=lambda folder: open_writer(writer, folder)),
    )
    return made


def open_writer(writer: PlayedTool, folder: str) -> PlayedTool:
    writer.calls.append(("SummaryWriter", (folder,), {}))
    return writer


def follow(place: str) -> None:
    with track(place, name="study-1", settings={"budget_ms": 30.0, "data": None}) as told:
        hooks = hooks_of(told)
        hooks.stage("study")
        hooks.trial(TRIAL)
        hooks.trial(replace(TRIAL, number=5, kl=0.5))
        hooks.trial(replace(TRIAL, number=6, state="infeasible", kl=None, top1_search=None))
        hooks.finetune(FINETUNE)
        told.result({"top1": 0.8, "measured_latency_ms": None})


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_weights_and_biases_and_trackio_get_one_rising_run(
    tools: Mapping[str, PlayedTool], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(f"{name}:textiles")
    assert capsys.readouterr().out == ""  # it is for answers
    (began, _, named), *logged, (_, (ended,), _), finished = tools[name].calls
    assert (began, named["project"], named["name"]) == ("init", "textiles", "study-1")
    assert named["config"] == {"budget_ms": 30.0, "data": None}
    numbers = [values[0] for call, values, _ in logged if call == "log"]
    first = {"predicted_latency_ms": 3.5, "seconds": 0.1, "kl": 0.25, "top1_search": 0.5, "best_kl": 0.25, "step": 4}
    assert numbers[0] == {f"trial/{key}": value for key, value in first.items()}
    assert numbers[1]["trial/best_kl"] == 0.25  # the better one of before
    assert numbers[2] == {"trial/predicted_latency_ms": 3.5, "trial/seconds": 0.1, "trial/step": 6}
    assert numbers[3]["finetune/loss"] == 1.5
    assert "finetune/kd" not in numbers[3]  # no number
    assert numbers[4] == {"result/top1": 0.8, "result/step": 0}
    assert not any(named for call, _, named in logged)  # a step that falls would be dropped there
    assert ended == {"is_done": 1}
    assert finished[0] == "finish"


def test_mlflow_gets_params_metrics_with_steps_and_the_status(tools: Mapping[str, PlayedTool]) -> None:
    follow("mlflow:sqlite:///m.db")
    calls = tools["mlflow"].calls
    names = [name for name, _, _ in calls]
    assert names[:4] == ["set_tracking_uri", "set_experiment", "start_run", "log_params"]
    assert calls[0][1] == ("sqlite:///m.db",)
    assert [named["step"] for name, _, named in calls if name == "log_metrics"] == [4, 5, 6, 20, 0]
    assert calls[-1] == ("end_run", (), {"status": "FINISHED"})
    with pytest.raises(KeyboardInterrupt), track("mlflow", name="x", settings={"classes": 900 * "x", "seed": 0}):
        raise KeyboardInterrupt
    (params,) = (values[0] for name, values, _ in calls[len(names) :] if name == "log_params")
    assert params == {"classes": 499 * "x" + "…", "seed": 0}  # servers refuse longer ones
    assert calls[-1][2] == {"status": "KILLED"}
    with pytest.raises(NuwaError), track("mlflow", name="x"):
        raise NuwaError("no subnet")
    assert calls[-1][2] == {"status": "FAILED"}


def test_tensorboard_gets_scalars_by_step(tools: Mapping[str, PlayedTool]) -> None:
    follow("tensorboard:runs")
    calls = tools["tensorboard"].calls
    assert calls[0] == ("SummaryWriter", ("runs/study-1",), {})
    assert ("add_scalar", ("trial/kl", 0.25, 4), {}) in calls
    assert ("add_scalar", ("finetune/loss", 1.5, 20), {}) in calls
    assert calls[-1][0] == "close"


def test_a_tracker_that_fails_ends_no_job(tools: Mapping[str, PlayedTool]) -> None:
    with track("trackio", name="x") as told:
        tools["trackio"].failing = "log"
        with pytest.warns(NuwaWarning, match=r"trackio takes no more numbers of this job, which goes on: no server"):
            hooks_of(told).trial(TRIAL)
        hooks_of(told).trial(TRIAL)  # and is told once
    tools["wandb"].failing = "init"
    with pytest.raises(OutsideError, match="wandb opened no run: no server"), track("wandb", name="x"):
        pass


def test_a_tool_that_is_unknown_or_not_installed_is_told_before_anything_loads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NuwaError, match="tensorbord"):
        tracker_place("tensorbord")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(cli, ["search", "--budget-ms", "3", "--log-to", "trackio"], prog_name="nuwa") == 2
    assert "pip install 'nuwa-search[trackio]'" in capsys.readouterr().err


def test_joined_hooks_are_told_in_their_order() -> None:
    seen: list[str] = []
    both = joined(Hooks(step=lambda text: seen.append(f"a {text}")), Hooks(step=lambda text: seen.append(f"b {text}")))
    both.step("x")
    both.count("things", 1, None)
    assert seen == ["a x", "b x"]
