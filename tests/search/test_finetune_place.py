"""In how many processes a search fine-tunes, and what they ask of a cluster."""

import dataclasses
from dataclasses import dataclass
from typing import cast

import pytest
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.local import LocalExecutor
from nuwa_search.search.job.finetune_place import finetune_place
from nuwa_search.search.request import SearchRequest

CONFIG = FinetuneConfig(batch_size=32)
HERE = SearchRequest(30.0)
RAY = dataclasses.replace(HERE, executor="ray")


@dataclass(frozen=True)
class _Cluster:
    """A cluster's largest node, as far as the choice looks at it."""

    gpus: int
    threads: int = 2


def cluster(gpus: int) -> Executor:
    return cast(Executor, _Cluster(gpus))


@pytest.mark.parametrize(
    ("gpus", "request_", "processes", "taken"),
    [
        (0, RAY, 1, 0),
        (1, RAY, 1, 1),
        (4, RAY, 4, 4),
        (3, RAY, 2, 2),  # 32 images are split evenly over 2, not over 3
        (4, dataclasses.replace(RAY, accelerator="cpu"), 1, 0),
        (4, dataclasses.replace(RAY, finetune_processes=2), 2, 2),
        (0, dataclasses.replace(RAY, finetune_processes=4), 4, 0),
    ],
)
def test_a_cluster_gives_a_gpu_to_each_process(gpus: int, request_: SearchRequest, processes: int, taken: int) -> None:
    place = finetune_place(request_, cluster(gpus), CONFIG, num_images=100)
    assert (place.processes, place.needs.gpus) == (processes, taken)
    # the node with most GPUs may have few cores
    assert place.needs.cpus == (processes if taken else max(2, processes))
    assert bool(place.said) is (processes > 1 or taken > 0)


def test_this_machine_takes_one_process_where_nothing_is_said() -> None:
    assert finetune_place(HERE, LocalExecutor(), CONFIG, num_images=100).processes == 1
    asked = dataclasses.replace(HERE, finetune_processes=2, accelerator="cpu")
    assert finetune_place(asked, LocalExecutor(), CONFIG, num_images=100).processes == 2


def test_a_batch_that_cannot_be_split_is_told_with_what_can() -> None:
    asked = dataclasses.replace(HERE, finetune_processes=5, accelerator="cpu")
    with pytest.raises(NuwaError, match="32 images cannot be split evenly") as caught:
        finetune_place(asked, LocalExecutor(), CONFIG, num_images=100)
    assert caught.value.hint == "--finetune-processes 4"


def test_more_processes_than_a_node_has_gpus_are_refused() -> None:
    asked = dataclasses.replace(RAY, finetune_processes=4)
    with pytest.raises(NuwaError, match="no node of the cluster has more than 2 GPUs") as caught:
        finetune_place(asked, cluster(2), CONFIG, num_images=100)
    assert caught.value.hint == "--finetune-processes 2, or --accelerator cpu"


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = dataclasses.replace(HERE, finetune_processes=2)
    with pytest.raises(NuwaError, match=r"this machine has 1 GPU$"):
        finetune_place(asked, LocalExecutor(), CONFIG, num_images=100)
