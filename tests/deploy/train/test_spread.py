"""Fine-tuning in several processes: the steps of one, Ctrl-C behind a step, a process that dies."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.deploy.train.finetune import FinetuneResult, finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.spread import _environment, _failure, finetune_in
from nuwa_search.deploy.train.spread_files import FAILED as FAILED_NAME
from nuwa_search.deploy.train.spread_files import Failed, MessageReader, add_message, write_whole
from nuwa_search.deploy.train.teacher import Teacher
from tests.support.slow_teacher import slow_teacher
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit

DATA = TaskTensors(make_split(48), make_split(24, seed=9), PREPROCESS)
EVERY_STEP = dataclasses.replace(CONFIG, relation_scale=0.5)
"""The teacher runs in every step for it."""


def alone(*, checkpoint_dir: Path | None = None) -> FinetuneResult:
    teacher = Teacher(make_vit(seed=2, num_heads=4))
    resume = checkpoint_dir is not None
    return finetune(
        make_vit(seed=1), DATA, teacher=teacher, config=EVERY_STEP, checkpoint_dir=checkpoint_dir, resume=resume
    )


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_and_stop_behind_one(tmp_path: Path) -> None:
    """Ctrl-C in the middle of two processes; one goes on from their checkpoint to where one alone comes to."""
    told: list[int] = []

    def interrupt(now: Progress) -> None:
        told.append(now.step)
        if now.step >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_in(
            2, make_vit(seed=1), DATA, teacher=slow_teacher(seconds=0.1), config=EVERY_STEP, progress=interrupt,
            checkpoint_dir=tmp_path / "run",
        )  # fmt: skip
    rest, whole = alone(checkpoint_dir=tmp_path / "run"), alone()
    made = rest.outcome.resumed_from
    assert made is not None
    assert 2 <= made < EVERY_STEP.steps  # saved where they stopped, and not at the evaluation before
    for name, losses in whole.outcome.curve.items():
        assert rest.outcome.curve[name] == pytest.approx(losses, abs=1e-4), name
    for name, value in whole.student.state_dict().items():
        if not name.endswith("qkv.bias"):  # a key's bias cancels in the softmax: Adam scales up rounding
            torch.testing.assert_close(rest.student.state_dict()[name], value, rtol=1e-3, atol=2e-4)
    assert rest.after.top1 == whole.after.top1


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_is_named() -> None:
    begun = time.monotonic()
    with pytest.raises(OutsideError, match="process 1 of 2 was ended by SIGKILL") as caught:
        finetune_in(2, make_vit(seed=1), DATA, teacher=slow_teacher(dies_in="1"), config=EVERY_STEP)
    assert "--resume" in caught.value.hint
    assert time.monotonic() - begun < 120  # and not the 600 s that one waits for another


def test_causes_are_told_before_what_they_cause(tmp_path: Path) -> None:
    lost = RuntimeError("Connection closed by peer")
    write_whole(tmp_path / f"{FAILED_NAME}.0", Failed(0, lost, f"RuntimeError: {lost}"))
    assert "process 0 of 3 RuntimeError: Connection closed" in str(_failure(tmp_path, 3, 1))
    write_whole(tmp_path / f"{FAILED_NAME}.1", Failed(1, NuwaError("no such label"), "NuwaError: no such label"))
    assert str(_failure(tmp_path, 3, 1)) == "no such label"
    write_whole(tmp_path / f"{FAILED_NAME}.2", Failed(2, None, "was ended by SIGKILL"))
    assert "process 2 of 3 was ended by SIGKILL" in str(_failure(tmp_path, 3, 1))


def test_messages_come_whole_and_once(tmp_path: Path) -> None:
    reader = MessageReader(tmp_path)
    assert list(reader.new()) == []
    add_message(tmp_path, "count", ("views", 1, 2))
    path = next(tmp_path.iterdir())
    add_message(tmp_path, "count", ("views", 2, 2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])  # the second is being written
    assert list(reader.new()) == [("count", ("views", 1, 2))]
    path.write_bytes(whole)
    assert list(reader.new()) == [("count", ("views", 2, 2))]
    assert list(reader.new()) == []


def test_a_process_of_torchrun_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(NuwaError, match="in a process of torchrun"):
        finetune_in(2, make_vit(), DATA, teacher=None, config=CONFIG)


def test_processes_on_cores_see_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert _environment(1, has_gpus=False)["CUDA_VISIBLE_DEVICES"] == ""
    assert _environment(1, has_gpus=True)["CUDA_VISIBLE_DEVICES"] == "0,1"
