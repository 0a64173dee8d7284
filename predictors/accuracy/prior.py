"""What single-block replacements say about a whole subnet: costs per branch, added up.

Every row is a whole net with one change and its KL divergence to the teacher, as in Puzzle's library of
block replacements (arXiv 2411.19146). Between measured widths the square root of the KL is interpolated
linearly: for small changes the KL is quadratic in the disturbance of the logits.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, width_of

AttnSpec = tuple[int, int, int]
BlockCost = tuple[float, float]
"""KL in nats charged to a block's attention and to its MLP."""


@dataclass(frozen=True)
class AdditivePrior:
    """KL of single replacements, and costs of any block by interpolation between them.

    Args:
        base: The arch whose cost is zero.
        blocks: KL of each measured (block index, spec).
        embeds: KL of each measured ``embed_dim``.
        sizes: KL of the uncut base at each measured image size, in pixels.
    """

    base: Arch
    blocks: dict[tuple[int, BlockSpec], float]
    embeds: dict[int, float]
    sizes: dict[ImgSize, float] = field(default_factory=dict)
    _costs: dict[tuple[int, BlockSpec], BlockCost] = field(default_factory=dict, repr=False, compare=False)

    def block_cost(self, i: int, spec: BlockSpec) -> BlockCost:
        """Charge block ``i`` of shape ``spec``: (attention, MLP), each KL in nats and at least 0."""
        key = (i, spec)
        if key not in self._costs:
            self._costs[key] = self._cost(i, spec)
        return self._costs[key]

    def embed_cost(self, embed_dim: int) -> float:
        """Charge a width of the residual stream, KL in nats."""
        points = {self.base.embed_dim: 0.0} | self.embeds
        return _interpolate(points, embed_dim)

    def size_cost(self, img_size: ImgSize) -> float:
        """Charge an image size in pixels, KL in nats."""
        points = {width_of(self.base.img_size): 0.0} | {width_of(size): kl for size, kl in self.sizes.items()}
        return _interpolate(points, width_of(img_size))

    def additive(self, arch: Arch) -> float:
        """Add up the costs of all blocks, ``embed_dim`` and image: KL in nats if nothing interacted."""
        blocks = sum(sum(self.block_cost(i, b)) for i, b in enumerate(arch.blocks))
        return blocks + self.embed_cost(arch.embed_dim) + self.size_cost(arch.img_size)

    def _cost(self, i: int, spec: BlockSpec) -> BlockCost:
        full = self.base.blocks[i]
        attn = 0.0 if _attn(spec) == _attn(full) else self._attn_cost(i, spec)
        mlp = 0.0 if spec.mlp_width == full.mlp_width else self._mlp_cost(i, spec.mlp_width)
        joint = self.blocks.get((i, spec))
        if joint is None or attn + mlp <= 0:
            return attn, mlp
        share = joint / (attn + mlp)  # both branches were changed together and measured so
        return attn * share, mlp * share

    def _attn_cost(self, i: int, spec: BlockSpec) -> float:
        full = self.base.blocks[i]
        measured = self.blocks.get((i, BlockSpec(*_attn(spec), full.mlp_width)))
        if measured is not None:
            return measured
        dropped = self._dropped_attn(i)
        if not spec.has_attn:
            return dropped
        heads = {full.num_heads: 0.0, 0: dropped} | self._line(i, "num_heads")
        qk = {full.qk_dim: 0.0, 0: dropped} | self._line(i, "qk_dim")
        v = {full.v_dim: 0.0, 0: dropped} | self._line(i, "v_dim")
        left = spec.num_heads / full.num_heads  # narrower heads cost only where a head is left
        return _interpolate(heads, spec.num_heads) + left * (
            _interpolate(qk, spec.qk_dim) + _interpolate(v, spec.v_dim)
        )

    def _mlp_cost(self, i: int, width: int) -> float:
        full = self.base.blocks[i]
        line = {full.mlp_width: 0.0} | self._line(i, "mlp_width")
        if 0 not in line:
            line[0] = self._worst(i)
        return _interpolate(line, width)

    def _dropped_attn(self, i: int) -> float:
        full = self.base.blocks[i]
        return self.blocks.get((i, BlockSpec(0, 0, 0, full.mlp_width)), self._worst(i))

    def _worst(self, i: int) -> float:
        return max((kl for (block, _), kl in self.blocks.items() if block == i), default=0.0)

    def _line(self, i: int, name: str) -> dict[int, float]:
        """Collect measured replacements of block ``i`` that change only ``name``: width -> KL."""
        full = self.base.blocks[i]
        fields = ("num_heads", "qk_dim", "v_dim", "mlp_width")
        return {
            getattr(spec, name): kl
            for (block, spec), kl in self.blocks.items()
            if block == i and all(getattr(spec, f) == getattr(full, f) for f in fields if f != name)
        }


def prior_from_library(base: Arch, archs: Sequence[Arch], kls: Sequence[float]) -> AdditivePrior:
    """Read a library of single replacements.

    Args:
        base: The arch that every row differs from in one place.
        archs: Whole archs, positional (entry ``i`` speaks of the base's block ``i``).
        kls: KL to the teacher in nats, one per arch.

    Raises:
        NuwaError: If a row changes more than one of blocks, ``embed_dim`` and image size.
    """
    blocks: dict[tuple[int, BlockSpec], float] = {}
    embeds: dict[int, float] = {}
    sizes: dict[ImgSize, float] = {}
    for arch, kl in zip(archs, kls, strict=True):
        if len(arch.blocks) != len(base.blocks):
            raise NuwaError(f"library row {arch.arch_id} has {len(arch.blocks)} blocks, its base {len(base.blocks)}")
        changed = [i for i, (a, b) in enumerate(zip(arch.blocks, base.blocks, strict=True)) if a != b]
        is_embed, is_size = arch.embed_dim != base.embed_dim, arch.img_size != base.img_size
        num_changed = len(changed) + is_embed + is_size
        if num_changed > 1:
            raise NuwaError(f"library row {arch.arch_id} changes {num_changed} places, wanted one")
        if is_embed:
            embeds[arch.embed_dim] = max(kl, 0.0)
        elif is_size:
            sizes[arch.img_size] = max(kl, 0.0)
        elif changed:
            blocks[changed[0], arch.blocks[changed[0]]] = max(kl, 0.0)
    return AdditivePrior(base=base, blocks=blocks, embeds=embeds, sizes=sizes)


def _attn(spec: BlockSpec) -> AttnSpec:
    return spec.num_heads, spec.qk_dim, spec.v_dim


def _interpolate(points: dict[int, float], width: int) -> float:
    widths = sorted(points)
    roots = [np.sqrt(points[w]) for w in widths]
    return float(np.interp(width, widths, roots)) ** 2


FLAT_COST = 0.05
"""KL in nats charged to any branch that goes, where nothing was measured: one common unit for all branches."""


def flat_prior(base: Arch) -> AdditivePrior:
    """Charge every branch alike, for a study without a library; scored subnets then tell them apart."""
    blocks: dict[tuple[int, BlockSpec], float] = {}
    for i, full in enumerate(base.blocks):
        blocks[i, BlockSpec(0, 0, 0, full.mlp_width)] = FLAT_COST
        blocks[i, dataclasses.replace(full, mlp_width=0)] = FLAT_COST
    return AdditivePrior(base=base, blocks=blocks, embeds={})
