"""What nets gave on the decoded images of a task: kept, so that no net is run twice on the same images."""

from collections.abc import Callable

from torch import Tensor

from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors


class KnownOutputs:
    """Logits and features by what they depend on; some kilobytes each."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], Tensor] = {}

    def get(self, key: tuple[str, ...], build: Callable[[], Tensor]) -> Tensor:
        """Give what is held under ``key``, or build and hold it; do not write to it."""
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = build()
        return found

    def put(self, key: tuple[str, ...], outputs: Tensor) -> None:
        """Hold what was computed on the way to something else."""
        self._held[key] = outputs

    def find(self, key: tuple[str, ...]) -> Tensor | None:
        """Give what is held under ``key``; None where nothing is."""
        return self._held.get(key)


def net_key(model: PlainViT) -> str:
    """Identify shape and weights of a net."""
    return f"{hash_tensors(model.state_dict())}-{model.arch.arch_id}"
