"""Kills of the server, and what cannot be written; ``make bench-faults`` takes every process and condition."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults.conditions import foreign_file, read_only
from benchmarks.faults.kills import kill_server
from benchmarks.faults.outcome import Outcome, Whole
from benchmarks.faults.row import FaultRow
from benchmarks.faults.toy import Toy

NOT_ASKED = Whole(Outcome("", "", 0, 0, True), 0.0)
"""These faults are held against no unbroken search."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, profiled_db: Path) -> Toy:
    return Toy(tmp_path_factory.mktemp("faults") / "toy", profiled=profiled_db)


def test_nothing_is_lost_or_queued_twice_by_kills_of_the_server(toy: Toy) -> None:
    row = kill_server(toy, NOT_ASKED, kills=2, chance=random.Random(1))
    assert row.attempts == 2
    assert (row.lost, row.twice, row.wrong) == (0, 0, 0), row


@pytest.mark.parametrize("fault", [foreign_file, read_only])
def test_what_cannot_be_written_is_refused_in_a_sentence(fault: Callable[[Toy, Whole], FaultRow], toy: Toy) -> None:
    row = fault(toy, NOT_ASKED)
    if not row.attempts:
        pytest.skip(row.note)
    assert row.refused >= 1
    assert row.wrong == 0, row
