"""The cache gives back what was stored and nothing else."""

import threading
from pathlib import Path

import pytest
import torch

from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.errors import OutsideError


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor([1, 2]), "none": torch.zeros(0, 4)}


def is_same(one: dict[str, torch.Tensor] | None, other: dict[str, torch.Tensor] | None) -> bool:
    return (
        one is not None
        and other is not None
        and one.keys() == other.keys()
        and all(torch.equal(one[k], other[k]) for k in one)
    )


def test_round_trip(cache: Cache) -> None:
    assert cache.load("stage", "key") is None
    cache.save("stage", "key", tensors())
    assert is_same(cache.load("stage", "key"), tensors())
    assert cache.load("other", "key") is None


def test_keys_tell_values_order_and_kinds_apart() -> None:
    keys = [
        content_key(*parts)
        for parts in [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), (1,), ("1",), (1.5,), (True,)]
    ]
    assert len(set(keys)) == len(keys)
    assert content_key("a", 1) == content_key("a", 1)


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text"])
def test_corrupt_entries_are_noticed_and_rebuilt(cache: Cache, harm: str) -> None:
    cache.save("stage", "key", tensors())
    path = cache.path("stage", "key")
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 0x40
    harmed: dict[str, bytes] = {"cut": bytes(raw[: len(raw) // 2]), "flip": bytes(raw), "empty": b"", "text": b"hello"}
    path.write_bytes(harmed[harm])
    assert cache.load("stage", "key") is None
    assert is_same(cache.get("stage", "key", tensors), tensors())
    assert is_same(cache.load("stage", "key"), tensors())


def test_entries_under_another_name_or_version_are_stale(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.save("stage", "key", tensors())
    cache.path("stage", "key").rename(cache.path("stage", "other"))
    assert cache.load("stage", "other") is None
    cache.save("stage", "key", tensors())
    monkeypatch.setattr("nuwa_search.core.cache.VERSION", "0")
    assert cache.load("stage", "key") is None


def test_built_once(cache: Cache) -> None:
    calls = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return tensors()

    for _ in range(3):
        cache.get("stage", "key", build)
    assert len(calls) == 1


def test_writers_at_once_leave_one_whole_entry_and_no_rubbish(cache: Cache) -> None:
    threads = [threading.Thread(target=cache.save, args=("stage", "key", tensors())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_same(cache.load("stage", "key"), tensors())
    assert [p.name for p in cache.path("stage", "key").parent.iterdir()] == ["key.safetensors"]


def test_a_folder_that_cannot_be_written_is_an_outside_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutsideError, match="cannot be written"):
        Cache(tmp_path / "file").save("stage", "key", tensors())
