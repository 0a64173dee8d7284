"""How sure the ranking of neurons is after so many images, told by a bootstrap over them."""

import torch
from torch import Tensor

NUM_RESAMPLES = 20
"""Bootstrap resamples: their mean overlap moves by less than half a percent with more."""
KEPT_SHARE = 0.5
"""Share of the neurons that is meant to stay: the cut in the middle is where most neurons lie close to the border."""


class RankingError:
    """Collects each neuron's energy group by group of images, and says how far the ranking may still move."""

    def __init__(self) -> None:
        self._groups: dict[int, list[Tensor]] = {}

    def add(self, index: int, energies: Tensor) -> None:
        """Add the energies (e,) of an MLP's neurons, summed over one group of equally many images."""
        self._groups.setdefault(index, []).append(energies.float().cpu())

    def value(self, *, seed: int = 0) -> float:
        """Mean share of the better half of the neurons that another draw of the images would not keep, 0..1.

        1 before two groups are known, 0 without any MLP. Groups are drawn with replacement (Efron, 1979).
        """
        if not self._groups:
            return 0.0
        errors = [_error(torch.stack(groups), seed=seed) for groups in self._groups.values()]
        return sum(errors) / len(errors)


def _error(energies: Tensor, *, seed: int) -> float:
    """Compare the kept half of (G, e) energies with that of resampled groups."""
    num_groups, size = energies.shape
    if num_groups < 2:
        return 1.0
    kept = max(1, int(size * KEPT_SHARE))
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(num_groups, (NUM_RESAMPLES, num_groups), generator=generator)
    counts = torch.zeros(NUM_RESAMPLES, num_groups).scatter_add_(1, draws, torch.ones(draws.shape))
    whole = torch.zeros(size, dtype=torch.bool)
    whole[energies.sum(dim=0).topk(kept).indices] = True
    again = (counts @ energies).topk(kept, dim=1).indices
    return 1.0 - float(whole[again].float().mean())
