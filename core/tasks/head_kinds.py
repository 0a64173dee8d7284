"""The registry of heads that are fitted where pixels have classes."""

from collections.abc import Mapping
from typing import Protocol

from nuwa_search.core.heads import OnImages, no_one
from nuwa_search.core.suggest import unknown_name
from nuwa_search.core.tasks.patch_head import fit_patch_head
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT

DEFAULT_HEAD = "linear"


class FitsHead(Protocol):
    """Gives a base a head for the classes of pixels."""

    def __call__(
        self, model: PlainViT, data: TaskTensors, *, num_classes: int, on_images: OnImages = no_one
    ) -> PlainViT:
        """Fit it on the train split and choose by the search split."""
        ...


HEADS: Mapping[str, FitsHead] = {"linear": fit_patch_head}
"""By name: ``linear`` reads each patch token by itself, and the scores are scaled up to the picture."""


def head_kind(name: str = DEFAULT_HEAD) -> FitsHead:
    """Return how a head of a kind is fitted.

    Raises:
        NuwaError: If the kind is unknown.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name]
