import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nuwa_search.core import decided_logits
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult, finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.score import score_split
from nuwa_search.deploy.train.teacher import Teacher
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit, run, top1_of

ROOT = Path(__file__).parents[3]
SMALL = TaskTensors(make_split(48), make_split(9), PREPROCESS)
SCRIPT = ROOT / "tests" / "support" / "train_toys.py"


def weights(result: FinetuneResult) -> dict[str, torch.Tensor]:
    return result.student.state_dict()


def assert_same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def assert_close(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        mine, theirs = a[name], b[name]
        if name.endswith("qkv.bias"):  # a key's bias cancels in the softmax: Adam scales up rounding
            mine, theirs = (torch.cat([v[:16], v[32:]]) for v in (mine, theirs))
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-4)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], env=env, cwd=ROOT)


def test_it_learns_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decided_logits, "has_bf16", lambda device: False)  # losses are compared
    reports: list[Progress] = []
    result = run(dataclasses.replace(CONFIG, steps=60, eval_every=20), progress=reports.append)
    assert top1_of(result.before) < 0.6
    assert top1_of(result.after) > 0.9
    assert result.is_changed
    assert result.after == score_split(result.student, make_split(24, seed=9), PREPROCESS)
    assert [e.step for e in result.outcome.history] == [0, 20, 40, 60, 60]
    assert set(result.outcome.curve) == {"cross_entropy", "distil", "loss"}
    assert all(len(c) == 60 for c in result.outcome.curve.values())
    last = [r for r in reports if r.losses][-1]
    assert (last.step, last.steps) == (60, 60)
    assert last.losses["loss"] == pytest.approx(last.losses["cross_entropy"] + last.losses["distil"], rel=1e-5)


def test_the_given_student_and_the_random_state_are_left_alone() -> None:
    student, before = make_vit(seed=1), make_vit(seed=1).state_dict()
    state = torch.get_rng_state()
    finetune(student, SMALL, teacher=None, config=CONFIG)
    assert_same(student.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not student.training


def test_same_arguments_same_bits_and_another_seed_other_bits() -> None:
    assert_same(weights(run()), weights(run()))
    other = weights(run(dataclasses.replace(CONFIG, seed=1)))
    assert any(not torch.equal(other[k], v) for k, v in weights(run()).items())


def test_the_untuned_student_is_kept_where_training_only_harms() -> None:
    train = make_split(48)
    tuned = run(dataclasses.replace(CONFIG, steps=60, eval_every=60)).student
    wrong = dataclasses.replace(train, labels=(train.labels + 1) % 3)
    search = make_split(24, seed=9)
    result = finetune(tuned, TaskTensors(wrong, search, PREPROCESS), teacher=None, config=CONFIG)
    assert not result.is_changed
    assert result.after == result.before
    assert_same(weights(result), tuned.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"relation_scale": 1.0},
        {"feature_weight": 1.0},
        {"mixup": 0.4, "cutmix": 1.0},
        {"layer_decay": 0.7, "ema_decay": 0.0},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_part_of_the_loss_learns(change: dict[str, Any]) -> None:
    result = run(dataclasses.replace(CONFIG, steps=60, eval_every=60, **change))
    assert top1_of(result.after) > 0.8
    assert not result.outcome.rollbacks


def test_relations_pull_the_student_to_the_teacher() -> None:
    config = dataclasses.replace(CONFIG, steps=40, alpha=0.0, lr=5e-3)
    with_relations = run(dataclasses.replace(config, relation_scale=5.0)).outcome.curve["relation"]
    assert sum(with_relations[-5:]) < 0.7 * sum(with_relations[:5])


def test_accumulating_changes_nothing_but_rounding() -> None:
    whole, parts = (weights(run(dataclasses.replace(CONFIG, accumulate=n))) for n in (1, 4))
    assert_close(whole, parts)


def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    process = start(tmp_path / "never.safetensors", "--checkpoint-dir", tmp_path / "run", "--hang-after", 7)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "never.safetensors").exists()
    config = dataclasses.replace(CONFIG, relation_scale=0.5)
    resumed = run(config, checkpoint_dir=tmp_path / "run", resume=True)
    unbroken = run(config)
    assert resumed.outcome.resumed_from == 4
    assert_same(weights(resumed), weights(unbroken))
    assert resumed.outcome.history == unbroken.outcome.history
    assert resumed.outcome.curve == unbroken.outcome.curve


@pytest.mark.parametrize("at", [4, 6, 12])
def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path, at: int) -> None:
    def interrupt(report: Progress) -> None:
        if report.step == at and report.losses:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoint_dir=tmp_path, progress=interrupt)
    resumed = run(checkpoint_dir=tmp_path, resume=True)
    unbroken = run()
    assert resumed.outcome.resumed_from == at
    assert_same(weights(resumed), weights(unbroken))
    assert resumed.outcome.history == unbroken.outcome.history
    assert resumed.outcome.curve == unbroken.outcome.curve


def test_a_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    first = run(checkpoint_dir=tmp_path)
    again = run(checkpoint_dir=tmp_path, resume=True)
    assert again.outcome.resumed_from == CONFIG.steps
    assert_same(weights(first), weights(again))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(checkpoint_dir=tmp_path)
    with pytest.raises(NuwaError, match="another run"):
        run(dataclasses.replace(CONFIG, lr=1e-4), checkpoint_dir=tmp_path, resume=True)
    with pytest.raises(NuwaError, match="another run"):
        run(checkpoint_dir=tmp_path, resume=True, with_teacher=False)
    with pytest.raises(NuwaError, match="folder of the checkpoint"):
        run(resume=True)


def test_divergence_is_rolled_back_and_given_up_in_the_end() -> None:
    result = run(dataclasses.replace(CONFIG, steps=40, lr=1e30, clip_norm=1e30), with_teacher=False)
    assert len(result.outcome.rollbacks) == 4
    assert [r.lr_factor for r in result.outcome.rollbacks] == pytest.approx([0.3, 0.09, 0.027, 0.0081])
    assert "gave up after 3" in result.outcome.stopped
    assert all(v.isfinite().all() for v in weights(result).values())
    assert result.after == result.before


def test_a_run_recovers_from_a_passing_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from nuwa_search.deploy.train.distil_job import DistilJob

    honest = DistilJob.batch_loss
    calls: list[int] = []

    def faulty(
        self: DistilJob, net: torch.nn.Module, *, step: int, indices: torch.Tensor, epoch: int
    ) -> dict[str, torch.Tensor]:
        calls.append(1)
        parts = honest(self, net, step=step, indices=indices, epoch=epoch)
        return {k: v * float("nan") for k, v in parts.items()} if len(calls) == 6 else parts

    monkeypatch.setattr(DistilJob, "batch_loss", faulty)
    result = run()
    (undone,) = result.outcome.rollbacks
    assert (undone.step, undone.to_step) == (6, 4)
    assert "nan" in undone.reason
    assert result.outcome.steps == CONFIG.steps
    assert result.outcome.stopped == ""
    assert len(result.outcome.curve["loss"]) == CONFIG.steps


def test_a_student_that_is_not_finite_is_refused() -> None:
    student = make_vit(seed=1)
    with torch.no_grad():
        student.head.bias[0] = float("nan")
    with pytest.raises(NuwaError, match="cannot be trained"):
        finetune(student, SMALL, teacher=None, config=CONFIG)


def test_what_does_not_fit_together_is_refused() -> None:
    from nuwa_search.core.heads import restrict_head

    with pytest.raises(NuwaError, match="its teacher 2"):
        finetune(make_vit(), SMALL, teacher=Teacher(restrict_head(make_vit(), (0, 1))), config=CONFIG)
    with pytest.raises(NuwaError, match="labels"):
        finetune(restrict_head(make_vit(), (0, 1)), SMALL, teacher=None, config=CONFIG)
    headless, related = Teacher(make_vit(num_heads=0, width=0)), dataclasses.replace(CONFIG, relation_scale=1.0)
    with pytest.raises(NuwaError, match="needs attention"):
        finetune(make_vit(), SMALL, teacher=headless, config=related)
    if not torch.cuda.is_available():
        with pytest.raises(NuwaError, match="no CUDA"):
            finetune(make_vit(), SMALL, teacher=None, config=FinetuneConfig(accelerator="cuda"))


def test_it_runs_outside_the_main_thread() -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert_same(weights(results[0]), weights(run()))


@pytest.mark.slow
def test_compiled_equals_eager() -> None:
    torch._dynamo.reset()
    compiled = weights(run(dataclasses.replace(CONFIG, steps=4, compile=True, relation_scale=0.5)))
    assert_close(compiled, weights(run(dataclasses.replace(CONFIG, steps=4, relation_scale=0.5))))
