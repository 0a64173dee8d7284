"""Which ingredients a derivation uses; the benchmark's ablations switch them off one by one."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.identity import hashed_values, later_defaults

AttentionBasis = Literal["data", "weights", "none"]
NeuronRanking = Literal["surgeon", "energy", "activation", "variance", "magnitude"]


@dataclass(frozen=True)
class DeriveOptions:
    """How subnets are cut; every field changes weights, so all of them enter ``subnet_id``.

    Args:
        svd: Basis in which query, key and value widths are cut: ``data`` weighs the products by the moments
            of the task's activations, ``weights`` is the data-free SVD of NuWa (arXiv 2504.03118), ``none``
            keeps the channels of largest weight norm.
        least_squares: Re-solve ``attn.proj`` and ``mlp.fc2`` for what was cut; False deletes plainly.
        ranking: Order of MLP neurons and heads: ``surgeon`` removes what the rest can best replace, ``energy``
            is second moment times output norm, ``activation`` the mean activation NuWa publishes.
        depth_correction: Let what stays make up for branches and blocks that are gone.
        reach: How many removed branches in a row a writer makes up for by least squares; of those further on only
            the mean is folded in.
        sensitivity_images: Images from which it is learnt which directions and tokens the logits depend on; 0
            treats all alike.
        ridge: Relative to the mean diagonal of each Gram matrix.
        num_images: Training images the statistics are taken from, spread evenly over the classes.
        refine: Solve every linear map again, in order, on the subnet's own activations: closer to the base, but
            seconds instead of hundredths of one.
        refine_images: Images of that second pass.
        refine_ridge: Ridge of the second pass, relative like ``ridge``, towards the first solution.
        purify_steps: Steps of self-knowledge purification of the MLPs; 0 leaves it out.
        purify_decay: Weight decay of its keep-rate logit, which alone pulls neurons out.
        moment_tokens: Patch tokens per image that second moments are taken from, drawn anew for each image; 0 takes
            all. Prefix tokens are always taken.
        ranking_error: Images of the statistics are enough once a bootstrap over them would keep other neurons for at
            most this share of the better half; 0 takes all ``num_images``.
        least_images: Images that are taken before the ranking error is asked for.
        bf16: Run base and subnets in bf16 for their statistics on a CPU that multiplies it; moments are summed in FP32.
            The same subnet cut on another kind of processor then differs by that rounding.
    """

    svd: AttentionBasis = "data"
    least_squares: bool = True
    ranking: NeuronRanking = "surgeon"
    depth_correction: bool = True
    reach: int = 4
    sensitivity_images: int = 256
    ridge: float = 1e-4
    num_images: int = 1000
    refine: bool = False
    refine_images: int = 1000
    refine_ridge: float = 1e-1
    purify_steps: int = 0
    purify_decay: float = 0.05
    moment_tokens: int = 0
    ranking_error: float = 0.0
    least_images: int = 64
    bf16: bool = False

    def __post_init__(self) -> None:
        if not (self.ridge > 0 and self.refine_ridge > 0):
            raise NuwaError(f"derivation needs ridges > 0, found {self.ridge} and {self.refine_ridge}")
        if self.num_images < 1 or self.refine_images < 1 or self.purify_steps < 0:
            raise NuwaError("derivation needs at least one image for its statistics and steps >= 0")
        if self.moment_tokens < 0 or not 0 <= self.ranking_error < 1 or self.least_images < 1:
            raise NuwaError(
                "derivation needs tokens >= 0, a ranking error from 0 to below 1 and at least one image, "
                f"found {self.moment_tokens}, {self.ranking_error} and {self.least_images}"
            )

    @property
    def canonical(self) -> str:
        """Canonical JSON, for hashing."""
        values = hashed_values(dataclasses.asdict(self), _LATER_FIELDS)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


# Hashed whatever their value, as subnet ids were first given.
_FIRST_FIELDS = frozenset(
    {
        *("svd", "least_squares", "ranking", "depth_correction", "reach", "sensitivity_images", "ridge", "num_images"),
        *("refine", "refine_images", "refine_ridge", "purify_steps", "purify_decay"),
    }
)
_LATER_FIELDS = later_defaults(DeriveOptions, original=_FIRST_FIELDS)
