import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nuwa_search.core.json_fields import JsonFields


@dataclass(frozen=True)
class Inner:
    low: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Part(JsonFields):
    MERGED: ClassVar = ("inner",)

    first: int
    inner: Inner


@dataclass(frozen=True)
class Whole(JsonFields):
    LEFT_OUT: ClassVar = ("seconds", "metric")

    dir: Path
    part: Part
    parts: Mapping[str, tuple[Inner, ...]]
    engine: Path | None = None
    seconds: float | None = None
    reason: str = ""
    metric: str = "top1"


def test_a_document_is_its_fields_in_their_order() -> None:
    inner = Inner(0.5, ("a", "b"))
    found = Whole(Path("out"), Part(1, inner), {"all": (inner,)}).to_json()
    assert json.dumps(found) == json.dumps(
        {
            "dir": "out",
            "part": {"first": 1, "low": 0.5, "names": ["a", "b"]},  # merged
            "parts": {"all": [{"low": 0.5, "names": ["a", "b"]}]},
            "engine": None,
            "reason": "",  # defaults are left out only where that is said
        }
    )
