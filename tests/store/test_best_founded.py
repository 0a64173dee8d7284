"""A subnet's accuracy is that of its best-founded score, in whatever order scores are written."""

import itertools

import pytest
from sqlalchemy import select

from nuwa_search.store.records import ScoreRecord
from nuwa_search.store.store import Store
from nuwa_search.store.tables import SubnetRow
from tests.support.store_values import record_basics, subnet

WORST_FIRST = [
    ScoreRecord("subnet-0", "kl_to_teacher", "test", 256, 0, 0.1),  # no accuracy
    ScoreRecord("subnet-0", "top1_derived", "search", 256, 0, 0.2),
    ScoreRecord("subnet-0", "top1_derived", "test", 250, 0, 0.3),
    ScoreRecord("subnet-0", "top1", "search", 256, 0, 0.4),
    ScoreRecord("subnet-0", "top1", "test", 250, 0, 0.5),
]


@pytest.fixture
def one(store: Store) -> Store:
    record_basics(store)
    store.record_subnets([subnet(0)])
    return store


def accuracy(store: Store) -> float | None:
    with store.read() as connection:
        return connection.execute(select(SubnetRow.top1)).scalar_one()


def test_every_order_of_two_leaves_the_better_founded(one: Store) -> None:
    for first, second in itertools.permutations(WORST_FIRST, 2):
        one.retire_top1("subnet-0")
        with one.write() as connection:
            connection.exec_driver_sql("DELETE FROM nuwa_scores")
            connection.exec_driver_sql("UPDATE nuwa_subnets SET top1 = NULL, score_pk = NULL")
        one.record_scores([first])
        one.record_scores([second])
        best = max(first, second, key=WORST_FIRST.index)
        assert accuracy(one) == (None if best.kind == "kl_to_teacher" else best.value), (first, second)


def test_a_score_that_is_written_again_counts_with_its_new_value(one: Store) -> None:
    one.record_scores(WORST_FIRST)
    one.record_scores([ScoreRecord("subnet-0", "top1", "test", 250, 0, 0.6), WORST_FIRST[1]])
    assert accuracy(one) == 0.6
    one.retire_top1("subnet-0")
    assert accuracy(one) == 0.3
    one.record_scores([ScoreRecord("subnet-0", "top1_derived", "search", 256, 0, 0.25)])
    assert accuracy(one) == 0.3
