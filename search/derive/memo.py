"""Tensors remembered in memory up to a number of bytes, the longest unused forgotten first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from nuwa_search.search.derive.assemble import Tensors


class Memo:
    """Groups of tensors by key; safe to use from several threads.

    Args:
        max_bytes: What is kept at most; a group larger than that is not kept at all.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held: OrderedDict[Hashable, Tensors] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Memo"], tuple[int]]:
        """Travel to another process empty: a lock cannot, and what is held can be solved again."""
        return Memo, (self.max_bytes,)

    def get(self, key: Hashable, build: Callable[[], Tensors]) -> Tensors:
        """Return what is held under ``key``, or build it; the caller must not write to it."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
                return found
        made = build()
        with self._lock:
            if key not in self._held:
                self._held[key] = made
                self._bytes += _bytes_of(made)
            while self._bytes > self.max_bytes:
                self._bytes -= _bytes_of(self._held.popitem(last=False)[1])
        return made


def _bytes_of(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
