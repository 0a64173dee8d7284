"""Logits of nets that share their first blocks with one net: its stream is kept and only the rest is run."""

import torch
from torch import Tensor

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.logits import run_trimmed
from nuwa_search.core.vit import PlainViT

KEPT_STREAMS = 3
"""Streams kept: where a branch goes, derivation also changes the writer before it, a block or so earlier."""


class Streams:
    """The teacher's residual stream before the last few blocks, moved forward as changes move to later ones."""

    def __init__(self, teacher: PlainViT, inputs: Tensor) -> None:
        self._teacher = teacher
        self._inputs = inputs
        self._kept: dict[int, Tensor] = {}

    @property
    def logits(self) -> Tensor:
        """Logits (B, C), or of patches (B, C, h, w), of the teacher itself, on the CPU."""
        return run_trimmed(self._teacher, self._inputs).float().cpu()

    def run(self, model: PlainViT) -> Tensor:
        """Logits of ``model``, starting where it first differs from the teacher, on the CPU."""
        start = _common_blocks(model, self._teacher)
        if start is None:
            return run_trimmed(model, self._inputs).float().cpu()
        x = self._before(start)
        for index in range(start, len(model.blocks)):
            x = model.forward_block(index, x)
        return model.answer(model.pool(x)).float().cpu()

    def _before(self, place: int) -> Tensor:
        start = max((p for p in self._kept if p <= place), default=None)
        if start is None:
            start, self._kept[0] = 0, self._teacher.embed(self._inputs)
        while start < place:
            self._kept[start + 1] = self._teacher.blocks[start](self._kept[start])
            start += 1
        while len(self._kept) > KEPT_STREAMS:
            del self._kept[max(self._kept, key=lambda kept: abs(kept - place))]
        return self._kept[place]


def _common_blocks(model: PlainViT, teacher: PlainViT) -> int | None:
    """Count leading blocks with the teacher's very tensors; None if the embedding differs already."""
    mine, theirs = model.state_dict(), teacher.state_dict()
    stem = [name for name in theirs if not name.startswith(("blocks.", "norm.", "fc_norm.", "head."))]
    if model.arch.norm != teacher.arch.norm or not all(_same(mine, theirs, name) for name in stem):
        return None
    for place in range(min(len(model.blocks), len(teacher.blocks))):
        prefix = f"blocks.{place}."
        names = {name for name in (*mine, *theirs) if name.startswith(prefix)}
        if not all(_same(mine, theirs, name) for name in names):
            return place
        if _shape(model, place) != _shape(teacher, place):
            return place
    return min(len(model.blocks), len(teacher.blocks))


def _same(mine: dict[str, Tensor], theirs: dict[str, Tensor], name: str) -> bool:
    a, b = mine.get(name), theirs.get(name)
    return a is not None and b is not None and a.shape == b.shape and torch.equal(a, b)


def _shape(model: PlainViT, place: int) -> BlockSpec:
    return model.arch.blocks[place]


def same_tensors(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether two state dicts hold the very same tensors under the same names."""
    return mine.keys() == theirs.keys() and all(_same(mine, theirs, name) for name in mine)
