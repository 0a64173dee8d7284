"""What a search left behind, held against the same search unbroken."""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.toy import TRIALS, Ended, Toy
from nuwa_search.store.store import open_store
from tests.support.toy_jobs import paid_proposals


@dataclass(frozen=True)
class Outcome:
    """What decides whether two searches are the same.

    Args:
        subnet_id: Of what ships.
        weights: Hash of its weights.
        num_paid: Trials that were scored or given up.
        num_different: Different ones among them.
        is_sound: Whether the database file is.
    """

    subnet_id: str
    weights: str
    num_paid: int
    num_different: int
    is_sound: bool

    @property
    def lost(self) -> int:
        """Trials that were asked for and are not there."""
        return max(0, TRIALS - self.num_different)

    @property
    def twice(self) -> int:
        """Trials that were paid for twice."""
        return self.num_paid - self.num_different


def outcome_of(ended: Ended, place: Path, *, db: str | None = None, study: str = "toy") -> Outcome | None:
    """Read what a search left in ``place``; None where it did not end well."""
    if ended.code != 0:
        return None
    answer = json.loads(ended.answer)
    url = db or str(place / "nuwa.sqlite")
    with open_store(url) as store:
        paid = paid_proposals(store, study)
    weights = hashlib.sha256((place / study / "model.safetensors").read_bytes()).hexdigest()[:16]
    sound = db is not None or is_sound(Path(url))
    return Outcome(answer["subnet"]["subnet_id"], weights, len(paid), len(set(paid)), sound)


def is_sound(database: Path) -> bool:
    """Whether SQLite finds nothing wrong with a file."""
    connection = sqlite3.connect(database)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    finally:
        connection.close()


@dataclass(frozen=True)
class Whole:
    """The toy search without a fault.

    Args:
        outcome: What it left.
        seconds: How long it took.
    """

    outcome: Outcome
    seconds: float

    def is_same(self, found: Outcome | None) -> bool:
        """Whether a search came to the same end, with a sound database."""
        wanted = self.outcome
        if found is None:
            return False
        return (found.subnet_id, found.weights) == (wanted.subnet_id, wanted.weights) and found.is_sound


def whole_search(toy: Toy) -> Whole:
    """Run the toy search without a fault."""
    place = new_place(toy, "whole")
    ended = toy.run(toy.search_words(place))
    found = outcome_of(ended, place)
    if found is None:
        raise RuntimeError(ended.told)
    return Whole(found, ended.seconds)


def new_place(toy: Toy, name: str) -> Path:
    """Make a folder with a copy of the profiled database."""
    place = toy.folder / name
    place.mkdir()
    (place / "nuwa.sqlite").write_bytes(toy.profiled.read_bytes())
    return place
