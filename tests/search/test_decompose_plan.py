"""Plans of a decomposition: own budgets keep the whole within its budget, and impossible ones are refused."""

import dataclasses
import itertools

import pytest

from nuwa_search.core.device import LatencyStats
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.deploy.collaborate.network import assumed_network, with_local
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.predictors.collaboration.crew import Crew
from nuwa_search.predictors.collaboration.modes import fuse_latency
from nuwa_search.predictors.collaboration.spread import Spread
from nuwa_search.search.collaborate.networks import network_of
from nuwa_search.search.collaborate.plan import FUSION_MS, PlannedBoard, board_names, plan_slots, slots_with_first
from nuwa_search.search.collaborate.request import DecomposeRequest

DIM, IMAGE_BYTES = 192, 3072


def board(name: str, base_ms: float, *, tail: float = 1.0, vector_cost_ms: float = 0.0) -> PlannedBoard:
    p95 = base_ms * tail
    stats = LatencyStats(base_ms, base_ms, base_ms, p95, p95, p95, base_ms, p95, 0.0)
    return PlannedBoard(name, builtin_specs()["jetson-nano"], stats, base_ms + vector_cost_ms)


def test_boards_of_a_kind_are_numbered() -> None:
    assert board_names(["jetson-nano", "lab", "jetson-nano"]) == ("jetson-nano-1", "lab", "jetson-nano-2")
    assert board_names(["my board"]) == ("my-board",)


@pytest.mark.parametrize(("tail", "num_models", "mbit"), [(1.0, 4, 1000), (1.2, 4, 100), (1.1, 7, 10)])
def test_sub_models_that_use_their_own_budgets_up_keep_the_whole_one(tail: float, num_models: int, mbit: float) -> None:
    boards = [board(f"b{k}", 10.0 + 5 * (k == 3), tail=tail) for k in range(4)]
    network = assumed_network([one.name for one in boards], mbit=mbit, rtt_ms=1.0)
    slots = plan_slots(boards, network, budget_ms=30.0, image_bytes=IMAGE_BYTES, vector_dim=DIM, num_models=num_models)
    assert len(slots) == num_models
    assert {slot.board for slot in slots} == set(range(4))
    crew = Crew(
        boards=tuple(boards[slot.board].name for slot in slots),
        compute=tuple(Spread(slot.budget_ms, tail * slot.budget_ms) for slot in slots),
        vector_dims=(DIM,) * num_models,
        network=network,
        image_bytes=IMAGE_BYTES,
        fusion_ms=FUSION_MS,
    )
    found = fuse_latency(crew.times(), crew.centre)
    assert 0.9 * 30.0 < found.p50_ms <= 30.0 + 1e-3
    assert crew.bytes_of(range(num_models)) == 4 * IMAGE_BYTES + num_models * DIM * 4
    at_first = dataclasses.replace(crew, network=with_local(network, ("b0",)))
    own = crew.boards.count("b0")
    assert at_first.bytes_of(range(num_models)) == 3 * IMAGE_BYTES + (num_models - own) * DIM * 4
    assert at_first.centre.wire_ms == pytest.approx(8 * 3 * IMAGE_BYTES / mbit / 1000)
    assert at_first.times()[0].answer.p50_ms == pytest.approx(sum(s.budget_ms for s in slots if s.board == 0))
    assert at_first.times()[0].wire_ms == 0


def test_answering_with_a_vector_is_left_room_for() -> None:
    network = assumed_network(["a"])
    plain, dear = (
        plan_slots([one], network, budget_ms=9.0, image_bytes=0, vector_dim=DIM, num_models=1)[0].budget_ms
        for one in (board("a", 10.0), board("a", 10.0, vector_cost_ms=0.25))
    )
    assert plain - dear == pytest.approx(0.25, abs=1e-3)


def test_a_share_is_given_to_the_sub_model_of_most_room_only() -> None:
    boards = [board("a", 10.0), board("b", 5.0)]
    network = assumed_network(["a", "b"])
    slots = plan_slots(boards, network, budget_ms=9.0, image_bytes=0, vector_dim=DIM, num_models=2)
    first = slots_with_first(slots, boards, first_share=0.5)
    assert first[0] == slots[0]
    assert first[1].budget_ms == pytest.approx(slots[1].budget_ms / 2, abs=1e-3)
    assert slots_with_first(slots, boards, first_share=1.0) == slots


def test_a_network_that_takes_the_whole_budget_is_told() -> None:
    with pytest.raises(NoAnswerError, match=r"10\.\d\d ms go to the network of a"):
        plan_slots(
            [board("a", 10.0)],
            network_of("100mbit,5ms", ["a"]),
            budget_ms=8.0,
            image_bytes=IMAGE_BYTES,
            vector_dim=DIM,
            num_models=1,
        )


def test_a_network_is_a_rate_and_the_delay_of_one_way() -> None:
    link = network_of("100mbit,5ms", ["a", "b"]).link("b")
    assert (link.rtt_p50_ms, link.up_mbit, link.down_mbit) == (10.0, 100.0, 100.0)
    assert network_of("1 Gbit/s, 0.5 ms", ["a"]).link("a").rtt_p50_ms == 1.0
    for text in ("100mbit", "5ms,100mbit", "0mbit,5ms", "", "no-such-file.json"):
        with pytest.raises(NuwaError, match="network"):
            network_of(text, ["a"])


def test_a_request_refuses_what_cannot_be() -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"devices": ()}, "needs 1 to 16 devices"),
        ({"sub_models": 1}, "2 devices need 2 to 64 sub-models"),
        ({"needed": 3}, "--needed 3 is no number of 2"),
        ({"first_share": 0.0}, "0.05 to 1"),
        ({"groups": "alphabet"}, "groups must be one of"),
        ({"base": "./own"}, "needs images"),
        ({"budget_ms": -1.0}, "budget"),
    ]
    for values, told in wrong:
        with pytest.raises(NuwaError, match=told):
            DecomposeRequest(**{"devices": ("a", "b"), "budget_ms": 5.0, **values})  # type: ignore[arg-type]
    assert list(itertools.islice((DecomposeRequest(("a",) * n, 5.0).num_needed for n in (1, 2, 4)), 3)) == [1, 1, 3]
