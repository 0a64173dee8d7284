"""Which boards to ask about an image, when to stop waiting, and how to fuse the vectors: no sockets, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.deploy.collaborate.way_figures import ModeFigures


@dataclass(frozen=True)
class Rules:
    """How one mode of a collaboration uses the sub-models, named by their place.

    Args:
        collaboration: The sub-models and their boards.
        fusion: Of the sub-models' vectors.
        figures: Settings of the mode.
    """

    collaboration: Collaboration
    fusion: Fusion
    figures: ModeFigures

    def first(self, reachable: Collection[int]) -> tuple[int, ...]:
        """Return the sub-models to ask at once: all, or for ``route`` the first sub-model if it can be reached."""
        first = self.figures.first
        if first is not None and first in reachable:
            return (first,)
        return tuple(sorted(set(reachable) - {self.collaboration.gate}))

    def more(
        self,
        vectors: Mapping[int, Floats],
        asked: Collection[int],
        waiting: Collection[int],
        reachable: Collection[int],
    ) -> tuple[int, ...] | None:
        """Decide what to do after a vector came or a board was lost.

        Args:
            vectors: (d,) by sub-model, of those that came.
            asked: Sub-models that were asked.
            waiting: Those of them whose vector may still come.
            reachable: Sub-models that could be asked.

        Returns:
            Further sub-models to ask; empty to wait on; None to answer now.
        """
        if self.figures.mode == "any" and len(vectors) >= (self.figures.needed or 1):
            return None
        if waiting:
            return ()
        if not asked:  # nobody was there when the image came: wait for who returns
            return self.first(reachable)
        free = tuple(sorted(set(reachable) - set(asked)))
        if not free or self.figures.mode != "route":
            return None
        if not vectors:  # whoever was asked is lost
            return free
        if len(asked) == 1:
            return self._after_first(vectors, free)
        thresholds = self.figures.thresholds
        if len(asked) == 2 and len(thresholds) > 1 and self.chances(vectors).max() < thresholds[1]:
            return free
        return None

    def _after_first(self, vectors: Mapping[int, Floats], free: tuple[int, ...]) -> tuple[int, ...] | None:
        """Decide by the first sub-model's answer: None where it is sure, else its expert, or everybody at once."""
        first = next(iter(vectors))
        chances = softmax(self.fusion.alone(first, vectors[first]))
        alone, together, own = (*self.figures.thresholds, 0.0, 0.0)[:3]
        expert = int(np.argmax([float(chances[list(part.classes)].sum()) for part in self.collaboration.parts]))
        if chances.max() >= (own if expert == first else alone):
            return None
        is_asked_alone = expert in free and together <= 1
        return (expert,) if is_asked_alone else free

    def scores(self, vectors: Mapping[int, Floats]) -> Floats:
        """Fuse the answers that came, scores of patches (P · C,), to logits of the picture's patches (C, h, w).

        Raises:
            NuwaError: If images have classes, and not their pixels.
        """
        grid = self.collaboration.grid
        if grid is None:
            raise NuwaError("this collaboration names a class for each image, and none for its pixels")
        rows = [vectors[i].reshape(-1, dim) if i in vectors else None for i, dim in enumerate(self.fusion.vector_dims)]
        return np.ascontiguousarray(self.fusion.fuse_all(rows).T).reshape(-1, *grid)

    def chances(self, vectors: Mapping[int, Floats]) -> Floats:
        """Turn the vectors that came, of an image that has a class, into probabilities (C,).

        One sub-model of ``route`` that was asked alone answers with its own head; everything else is fused.
        """
        if self.figures.mode == "route" and len(vectors) == 1:
            (place,) = vectors
            if place == self.figures.first:
                return softmax(self.fusion.alone(place, vectors[place]))
        return softmax(self.fusion.fuse([vectors.get(i) for i in range(self.fusion.num_models)]))


def softmax(logits: Floats) -> Floats:
    """Map logits (C,) to probabilities."""
    shifted = np.exp(logits - logits.max())
    return np.asarray(shifted / shifted.sum(), np.float32)
