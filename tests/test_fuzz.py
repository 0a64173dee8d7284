"""Malformed files and requests end in a refusal by name: a thousand here, twenty thousand by ``make bench-fuzz``."""

from pathlib import Path

import pytest

from tests.support.fuzzing.feed import LARGE_MB, feed
from tests.support.fuzzing.mutations import mutated_json
from tests.support.fuzzing.reader import Reader
from tests.support.fuzzing.readers import GROUPS

INPUTS = 16
"""For each reader: a thousand in all."""


@pytest.mark.parametrize("group", GROUPS)
def test_no_malformed_input_ends_without_a_name(group: str, tmp_path: Path) -> None:
    for reader in GROUPS[group](tmp_path):
        outcomes = list(feed(reader, range(round(INPUTS * reader.share)), seed=1))
        assert [(reader.name, o.number, o.said) for o in outcomes if o.kind == "unnamed"] == []
        assert max((o.peak_mb for o in outcomes), default=0.0) <= LARGE_MB, reader.name


def test_an_unnamed_exception_is_told_and_the_document_put_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    seen = list[bytes]()

    def read() -> None:
        seen.append(path.read_bytes())
        if len(seen) > 1:
            raise KeyError("a")

    reader = Reader("it", path, mutated_json, read)
    assert [o.said for o in feed(reader, range(2), seed=0)] == ["KeyError: 'a'"] * 2
    assert path.read_text() == '{"a": 1}'
    assert seen[1] == reader.malformed(seen[0], number=0, seed=0) != seen[0]
