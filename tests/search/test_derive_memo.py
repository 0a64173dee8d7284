"""The memo is bounded by bytes and forgets the longest unused."""

from functools import partial

import torch

from nuwa_search.search.derive.memo import Memo


def test_builds_once_until_the_bound_then_forgets_the_oldest() -> None:
    built = []

    def entry(key: str) -> dict[str, torch.Tensor]:
        built.append(key)
        return {"x": torch.zeros(10)}  # 40 bytes

    memo = Memo(max_bytes=100)
    for key in ["a", "b", "a", "c", "a", "b"]:
        memo.get(key, partial(entry, key))
    assert built == ["a", "b", "c", "b"]  # c put b out, since a had just been used


def test_what_is_too_large_is_not_kept() -> None:
    memo = Memo(max_bytes=10)
    calls: list[int] = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"x": torch.zeros(10)}

    for _ in range(2):
        memo.get("big", build)
    assert len(calls) == 2
