"""Leases of boards: one holder each, shared evenly, freed when a holder dies, out with a reason."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.owners import LEASE_S
from nuwa_search.store.records import BoardRatio
from nuwa_search.store.store import Store
from nuwa_search.store.tables import BoardRow

BOARDS = ("nano-1", "nano-2", "nano-3")


def test_each_board_is_lent_once_whoever_asks(store: Store) -> None:
    store.save_pool("lab", BOARDS)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda k: store.lease_board("lab", party=f"party-{k}"), range(6)))
    lent = [lease.board for lease in found if lease is not None]
    assert sorted(lent) == sorted(set(lent))
    while (lease := store.lease_board("lab", party="last", among=BOARDS)) is not None:
        lent.append(lease.board)  # who names boards stands in no line
    assert sorted(lent) == sorted(BOARDS)
    assert all(record.is_leased and record.num_leases == 1 for record in store.boards("lab"))


def test_boards_are_used_in_turn(store: Store) -> None:
    store.save_pool("lab", BOARDS)
    used = []
    for _ in range(6):
        lease = store.lease_board("lab", party="me")
        assert lease is not None
        used.append(lease.board)
        assert store.release_board(lease)
    assert used == [*BOARDS, *BOARDS]


def test_a_free_board_goes_to_who_holds_fewer(store: Store) -> None:
    store.save_pool("lab", BOARDS)
    mine = [store.lease_board("lab", party="greedy") for _ in BOARDS]
    assert store.lease_board("lab", party="greedy") is None  # waits, and was first
    assert store.lease_board("lab", party="late") is None
    assert mine[0] is not None
    store.release_board(mine[0])
    assert store.lease_board("lab", party="greedy") is None  # holds two, and late none
    got = store.lease_board("lab", party="late")
    assert got is not None
    assert got.board == "nano-1"
    assert mine[1] is not None
    store.release_board(mine[1])
    assert store.lease_board("lab", party="late") is None  # one each now, and greedy has waited longer
    assert store.lease_board("lab", party="greedy") is not None
    store.save_pool("lab", ())
    assert store.boards("lab") == ()


def test_of_equals_who_asked_first_is_served(store: Store) -> None:
    store.save_pool("lab", ("nano-1",))
    lease = store.lease_board("lab", party="holder")
    assert lease is not None
    for party in ("first", "second"):
        assert store.lease_board("lab", party=party) is None
    store.release_board(lease)
    assert store.lease_board("lab", party="second") is None
    assert store.lease_board("lab", party="first") is not None


def test_lease_of_a_silent_holder_runs_out_and_is_lost_to_it(store: Store) -> None:
    store.save_pool("lab", ("nano-1",))
    lost = store.lease_board("lab", party="silent")
    assert lost is not None
    assert store.beat_boards("silent") == 1
    with store.write() as connection:
        late = utc_now() - timedelta(seconds=LEASE_S + 1)
        connection.execute(update(BoardRow).values(heartbeat_at=late, owner_host="elsewhere"))
    assert not store.boards("lab")[0].is_leased
    lease = store.lease_board("lab", party="next")
    assert lease is not None
    assert not store.release_board(lost)
    assert not store.put_out(lost, "it broke")
    assert store.beat_boards("silent") == 0
    assert store.boards("lab")[0].is_leased
    assert store.release_board(lease)


def test_board_leaves_with_a_reason_and_comes_back(store: Store) -> None:
    store.save_pool("lab", ("nano-1", "nano-2"))
    lease = store.lease_board("lab", party="me", among=("nano-2",))
    assert lease is not None
    assert store.put_out(lease, "no route to host")
    first = store.boards("lab")[1]
    assert (first.out_reason, first.is_leased) == ("no route to host", False)
    assert store.lease_board("lab", party="me", among=("nano-2",)) is None
    again = store.lease_board("lab", party="me", is_out=True)
    assert again is not None
    assert again.board == "nano-2"
    assert store.put_out(again, "still none")
    record = store.boards("lab")[1]
    assert (record.out_at, record.out_reason) == (first.out_at, "still none")  # out since then
    again = store.lease_board("lab", party="me", is_out=True)
    assert again is not None
    assert store.take_back(again)
    assert store.boards("lab")[1].out_reason is None


def test_pool_keeps_what_is_known_of_boards_that_stay(store: Store) -> None:
    store.save_pool("lab", ("nano-1", "nano-2"))
    store.save_ratios("lab", [BoardRatio("nano-2", 1.25, (1.2, 1.3))], compared=("nano-2",))
    store.save_pool("lab", ("nano-2", "nano-3"))
    assert [(r.name, r.ratio, r.ratio_interval) for r in store.boards()] == [
        ("nano-2", 1.25, (1.2, 1.3)),
        ("nano-3", None, None),
    ]
    with pytest.raises(NuwaError, match="nano-2 belongs to the pool lab"):
        store.save_pool("other", ("nano-2",))
    store.forget_pool("lab")
    store.save_pool("other", ("nano-2",))
