"""The memo is bounded by bytes and forgets the longest unused."""

import torch

from nuwa_search.search.derive.memo import Memo


def test_builds_once_until_the_bound_then_forgets_the_oldest():
    built = []

    def entry(key):
        built.append(key)
        return {"x": torch.zeros(10)}  # 40 bytes

    memo = Memo(max_bytes=100)
    for key in ["a", "b", "a", "c", "a", "b"]:
        memo.get(key, lambda key=key: entry(key))
    assert built == ["a", "b", "c", "b"]  # c put b out, since a had just been used


def test_what_is_too_large_is_not_kept():
    memo, calls = Memo(max_bytes=10), []
    for _ in range(2):
        memo.get("big", lambda: calls.append(1) or {"x": torch.zeros(10)})
    assert len(calls) == 2
