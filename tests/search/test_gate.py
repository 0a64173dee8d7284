"""The gate is taken where images are answered faster with it and as well, and where no more are asked, left out."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from nuwa_search.core.device import LatencyStats
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.search.collaborate.choose_modes import assess
from nuwa_search.search.collaborate.ensemble import Ensemble
from nuwa_search.search.collaborate.gate import Gate
from nuwa_search.search.collaborate.place_parts import PlacedParts
from nuwa_search.search.collaborate.placement import Placement
from nuwa_search.search.collaborate.plan import PlannedBoard, Slot, board_names
from nuwa_search.search.collaborate.prepare import network_between
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.collaborate.run import ClassDivision, DecomposeRun
from nuwa_search.search.collaborate.see_splits import SeenSplits
from nuwa_search.search.collaborate.seen import Seen
from nuwa_search.search.collaborate.vector_graph import VectorGraph
from nuwa_search.search.job.inputs import Inputs
from tests.support.train_toys import make_vit


def took(ms: float) -> LatencyStats:
    return LatencyStats(ms, ms, ms, ms, ms, ms, ms, ms, 0.0)


def graph_of(ms: float) -> VectorGraph:
    return cast(VectorGraph, SimpleNamespace(measurement=SimpleNamespace(latency_ms=took(ms))))


@pytest.mark.parametrize(("network", "is_taken"), [("100mbit,5ms", True), ("1gbit,0.05ms", False)])
def test_a_gate_is_taken_where_the_network_is_slow(network: str, is_taken: bool) -> None:
    """It is right of every image and takes 6 ms on the coordinator's board; the others take 5 ms and the network."""
    request = DecomposeRequest(
        devices=("jetson-nano",) * 2, budget_ms=9.0, network=network, cameras=True, first_coordinates=True
    )
    spec = builtin_specs()["jetson-nano"]
    boards = tuple(PlannedBoard(name, spec, took(12.0), 12.0) for name in board_names(request.devices))
    groups = ((0,), (1, 2))
    division = ClassDivision(boards, network_between(request, boards), (Slot(0, 5.0), Slot(1, 5.0)), groups, 1.0)
    torch.manual_seed(0)
    gate = Gate(make_vit(seed=3), graph_of(6.0), 0)
    ensemble = Ensemble((make_vit(seed=1), make_vit(seed=2)), width=16).eval()
    rng = np.random.default_rng(0)
    width = gate.model.arch.head_in_features
    vectors = tuple(rng.normal(size=(60, width)).astype(np.float32) for _ in range(3))
    head = gate.model.head
    right = (vectors[2] @ head.weight.detach().numpy().T + head.bias.detach().numpy()).argmax(axis=1)
    seen, often = Seen(vectors, right), np.bincount(right, minlength=3)
    with torch.no_grad():  # all together answer the class of most images, a sub-model alone that of fewest
        for layer, answer in (
            (ensemble.fuse_out, often.argmax()),
            *((vit.head, often.argmin()) for vit in ensemble.vits),
        ):
            layer.weight.zero_()
            layer.bias.copy_(9 * torch.eye(3)[int(answer)])
    placed = PlacedParts(Placement((0, 1), 5.0, is_exact=True, gap=0.0), (graph_of(5.0), graph_of(5.0)))
    run = cast(DecomposeRun, SimpleNamespace(request=request))
    splits, none = SeenSplits(seen, seen), cast(Inputs, None)
    found = assess(run, none, division, ensemble, placed=placed, seen=splits, gate=gate)
    by_mode = {mode.figures.mode: mode for mode in found.modes}
    assert (found.crew.gate is not None) == is_taken
    assert found.fusion.num_models == 2 + is_taken
    assert by_mode["fuse"].figures.bytes_per_image == 4 * width, "the first board's vector goes over no network"
    if is_taken:
        assert by_mode["route"].figures.first == 2
        assert by_mode["route"].figures.top1 == 1.0
        assert found.modes[0].figures.mode == "route"
        assert by_mode["route"].latency.mean_ms < by_mode["fuse"].latency.mean_ms
