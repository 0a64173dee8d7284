"""``--accelerator`` of a search."""

import pytest
import torch

from tests.support.toy_search import ToySearch

FEW = ("--budget-ms", "0.3", "--trials", "6", "--finetune-steps", "4")


def test_cuda_is_refused_before_anything_is_computed_where_there_is_none(
    toy_search: ToySearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert toy_search.code(*FEW, "--accelerator", "cuda") == 2
    told = toy_search.capsys.readouterr().err
    assert "no CUDA device here" in told
    assert "statistics" not in told


def test_cuda_and_several_processes_exclude_each_other(toy_search: ToySearch) -> None:
    assert toy_search.code(*FEW, "--accelerator", "cuda", "--workers", "2") == 2
    assert "a GPU scores nets one after the other" in toy_search.capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_search_on_a_gpu_finds_as_good_a_net(toy_search: ToySearch) -> None:
    found = {}
    for kind in ("cpu", "cuda"):
        name = toy_search.with_args("--accelerator", kind, "--study", kind, "-o", str(toy_search.folder / kind))
        found[kind], _ = name.done(*FEW)
    low, high = found["cpu"]["subnet"]["top1_interval"]
    assert low <= found["cuda"]["subnet"]["top1"] <= high
    assert found["cuda"]["verdict"] == found["cpu"]["verdict"]
