"""One Ray cluster of this machine for all of it: starting one takes seconds."""

import dataclasses
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.transport import ConnectionFailedError, Transport
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.spread import finetune_in
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.latency.transport.local import LocalTransport
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.local import LocalExecutor
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.opened import opened_executor
from nuwa_search.search.executor.program import require_same, this_program
from nuwa_search.search.feasible import Limits
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetDeriver
from nuwa_search.search.study import stored_trials
from nuwa_search.search.study_place import StudyPlace
from nuwa_search.search.trials import EVALUATED, StudyConfig, StudyResult
from nuwa_search.testing.transport import TransportContract
from tests.support.search_fakes import CountingLatency, EmptyDeriver, SyntheticScorer, best_of, tiny_space
from tests.support.train_toys import CONFIG, PREPROCESS, make_split, make_vit

pytest.importorskip("ray", reason="the extra `ray` is not installed")
TRIALS, BATCH = 12, 3
FEW = TaskTensors(make_split(48), make_split(9), PREPROCESS)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def executor(told: list[str]) -> Iterator[Executor]:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    board, quiet = {"board:lab-nano": 1}, {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, object_store_memory=2**27, resources=board, **quiet)  # whatever else runs here
    signal.signal(signal.SIGTERM, before)
    try:
        with opened_executor("ray", address=None, say=told.append) as found:
            yield found
    finally:
        ray.shutdown()


@dataclasses.dataclass
class DeathlyDeriver:
    """Kills the process that derives, once per study; slow on some archs, so that later ones are there first."""

    marker: Path

    def derive(self, arch: Arch) -> PlainViT:
        if arch.blocks[0].mlp_width == 32:
            time.sleep(0.05)
            if not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return EmptyDeriver().derive(arch)


def study(executor: Executor, deriver: SubnetDeriver, *, url: str | None = None) -> StudyResult:
    space = tiny_space(4)
    return run_study(
        space, deriver=deriver, scorer=SyntheticScorer(space.base), limits=Limits(CountingLatency(), 2.8),
        config=StudyConfig(trials=TRIALS, batch=BATCH), place=StudyPlace(storage_url=url, executor=executor),
    )  # fmt: skip


def told_of(result: StudyResult) -> list[tuple[object, ...]]:
    return [(t.number, t.arch, t.origin, t.state, t.kl, t.reason) for t in result.trials]


@pytest.mark.slow
def test_a_cluster_finds_what_this_process_finds_though_a_process_of_it_is_killed(
    executor: Executor, told: list[str], tmp_path: Path
) -> None:
    marker = tmp_path / "killed"
    url = f"sqlite:///{tmp_path}/study.db"
    there = study(executor, DeathlyDeriver(marker), url=url)
    assert marker.exists()  # a process died with a subnet in it
    here = study(LocalExecutor(), DeathlyDeriver(marker))
    assert told_of(there) == told_of(here)
    assert best_of(there).arch == best_of(here).arch
    paid = [tuple(t.params.items()) for t in stored_trials(url, "study") if t.report["state"] in EVALUATED]
    assert len(paid) == len(set(paid)) == TRIALS
    assert any("1 node" in line and "2 CPUs" in line for line in told)


@pytest.mark.slow
def test_work_that_fails_there_fails_as_it_would_here(executor: Executor) -> None:
    assert executor.call(functools.partial(pow, 2, 10), needs=Needs("a power")) == 1024
    with pytest.raises(NuwaError, match="no such base") as caught:
        executor.call(refuse, needs=Needs("a refusal"))
    assert caught.value.hint == "name another"
    with pytest.raises(OutsideError, match=r"board:absent for measuring.*2 CPU") as missing:
        executor.call(refuse, needs=Needs("measuring", board="absent"))
    assert "--resources" in missing.value.hint


@pytest.mark.slow
def test_fine_tuning_in_two_processes_of_a_node_is_that_of_one_and_is_told_here(executor: Executor) -> None:
    work = functools.partial(
        finetune_in, 2, make_vit(seed=1), FEW, teacher=Teacher(make_vit(seed=2, num_heads=4)), config=CONFIG
    )
    told: list[Progress] = []
    there = executor.call(work, needs=Needs("fine-tuning", cpus=2), progress=told.append)
    here = finetune(make_vit(seed=1), FEW, teacher=Teacher(make_vit(seed=2, num_heads=4)), config=CONFIG)
    assert there.outcome.steps == here.outcome.steps == CONFIG.steps
    for name, losses in here.outcome.curve.items():
        assert there.outcome.curve[name] == pytest.approx(losses, abs=1e-4), name
    assert told
    assert all(now.steps == CONFIG.steps for now in told)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_fine_tuning_takes_the_gpus_that_a_node_declares(executor: Executor) -> None:
    count = min(2, executor.gpus)
    config = dataclasses.replace(CONFIG, accelerator="auto")
    work = functools.partial(finetune_in, count, make_vit(seed=1), FEW, teacher=None, config=config)
    there = executor.call(work, needs=Needs("fine-tuning", cpus=2, gpus=count))
    assert there.outcome.device.startswith("cuda")
    here = finetune(make_vit(seed=1), FEW, teacher=None, config=config)
    assert there.outcome.curve["loss"] == pytest.approx(here.outcome.curve["loss"], abs=1e-3)  # atomics on GPUs round


@pytest.mark.slow
def test_a_node_with_another_version_is_refused_by_name(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    from nuwa_search.search.executor import ray_cluster

    ours = dataclasses.replace(this_program(), version="9.9.9")
    monkeypatch.setattr(ray_cluster, "this_program", lambda: ours)
    cluster = ray_cluster.Cluster(lambda _: None)
    (node,) = cluster.nodes()
    with pytest.raises(NuwaError) as caught:
        cluster.look()
    assert node.name in caught.value.message
    assert this_program().words in caught.value.message
    assert "9.9.9" in caught.value.message


def test_other_code_of_the_same_version_is_another_program() -> None:
    ours = this_program()
    require_same(ours, dataclasses.replace(ours, torch="0.1"), node="n")
    with pytest.raises(NuwaError, match=r"node n of the Ray cluster has .*files 000000"):
        require_same(ours, dataclasses.replace(ours, files="000000"), node="n")


def test_threads_of_ray_do_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    from nuwa_search.search.executor.ray_cluster import without_prints_of_ray

    with without_prints_of_ray():
        thread = threading.Thread(target=print, args=("a node died",), name="ray_listen_error_messages")
        thread.start()
        thread.join()
        sys.stdout.write("the answer\n")
    sys.stdout.write("and more\n")
    assert capsys.readouterr().out == "the answer\nand more\n"


@pytest.fixture(scope="module")
def transport(executor: Executor, told: list[str]) -> Iterator[Transport]:
    from nuwa_search.search.executor.ray_cluster import Cluster
    from nuwa_search.search.executor.ray_transport import RayTransport

    made = RayTransport(Cluster(told.append), board="lab-nano", address="here", make=LocalTransport)
    yield made
    made.close()


@pytest.mark.slow
class TestRayTransport(TransportContract):
    """A board that a node reaches is to everyone else one more transport; here the node reaches itself."""

    def test_a_lost_node_is_a_lost_connection(self, transport: Transport) -> None:
        mine = transport.run(["sh", "-c", "echo $PPID"], timeout_s=10).stdout
        os.kill(int(mine), signal.SIGKILL)
        with pytest.raises(ConnectionFailedError, match="reaches here is gone"):
            transport.run(["true"], timeout_s=10)
        assert transport.run(["echo", "again"], timeout_s=10).stdout == "again\n"

    def test_the_way_there_is_a_node_that_declares_the_board(self, executor: Executor, told: list[str]) -> None:
        there = executor.reach("lab-nano", "me@lab-nano")
        assert there is not None
        assert there.address == "me@lab-nano"
        assert executor.reach("other", "me@other") is None
        assert "other: no node declares board:other, so it is reached from this machine" in told


def refuse() -> None:
    raise NuwaError("no such base", hint="name another")
