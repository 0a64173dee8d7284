"""What single cuts do to the logits, kept per image: whole nets are predicted by adding the changes up.

A cut moves the base's logits of B images by δ (B, C). The KL of one cut says how far; the change itself also says in
which direction, so that cuts that disturb the same images alike, and cuts that cancel, are told apart. A whole net is
predicted as KL(z₀ ‖ z₀ + Σ δᵢ). One expansion at the base misprices deep cuts, whose errors grow on each other: the
same is done again at nets that were really run, whose logits are exact and whose further cuts were measured on them
(as in sequential quadratic programming).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.img_size import ImgSize, width_of
from nuwa_search.predictors.accuracy.features import Floats

Changes = npt.NDArray[np.float32]
"""(B, C) change of the logits of B images."""

Move = tuple[int, BlockSpec]
"""Block index and the shape it takes."""

_FIELDS = ("num_heads", "qk_dim", "v_dim", "mlp_width")


@dataclass(frozen=True)
class SingleChanges:
    """Changes of single replacements of a base, and of any block by interpolation between them.

    Between measured widths the change is interpolated linearly: for small cuts KL is quadratic in it, and its root was
    found to be about linear in the width (``AdditivePrior`` interpolates that).

    Args:
        base: The arch whose change is zero.
        blocks: Change of each measured replacement.
        embeds: Change of each measured ``embed_dim``.
        sizes: Change of the uncut base at each measured image size, in pixels.
    """

    base: Arch
    blocks: Mapping[Move, Changes]
    embeds: Mapping[int, Changes]
    sizes: Mapping[ImgSize, Changes] = field(default_factory=dict)
    _known: dict[Move, Changes] = field(default_factory=dict, repr=False, compare=False)

    def block(self, i: int, spec: BlockSpec) -> Changes:
        """Change when block ``i`` takes the shape ``spec``: (B, C)."""
        key = (i, spec)
        if key not in self._known:
            self._known[key] = self._change(i, spec)
        return self._known[key]

    def embed(self, embed_dim: int) -> Changes:
        """Change when the residual stream is cut to ``embed_dim``: (B, C)."""
        return _interpolated({self.base.embed_dim: self._zero()} | dict(self.embeds), embed_dim)

    def size(self, img_size: ImgSize) -> Changes:
        """Change when the image has ``img_size`` pixels: (B, C)."""
        points = {width_of(self.base.img_size): self._zero()} | {width_of(k): v for k, v in self.sizes.items()}
        return _interpolated(points, width_of(img_size))

    def _change(self, i: int, spec: BlockSpec) -> Changes:
        full = self.base.blocks[i]
        if spec == full:
            return self._zero()
        if (i, spec) in self.blocks:
            return self.blocks[i, spec]
        return self._attn(i, spec) + self._mlp(i, spec.mlp_width)

    def _attn(self, i: int, spec: BlockSpec) -> Changes:
        full = self.base.blocks[i]
        alone = BlockSpec(spec.num_heads, spec.qk_dim, spec.v_dim, full.mlp_width)
        if alone == full:
            return self._zero()
        if (i, alone) in self.blocks:
            return self.blocks[i, alone]
        gone = self.blocks.get((i, BlockSpec(0, 0, 0, full.mlp_width)))
        if not spec.has_attn:
            return self._zero() if gone is None else gone
        left = np.float32(spec.num_heads / full.num_heads)  # narrower heads cost only where a head is left
        heads = _interpolated(self._line(i, "num_heads", gone), spec.num_heads)
        qk = _interpolated(self._line(i, "qk_dim", gone), spec.qk_dim)
        v = _interpolated(self._line(i, "v_dim", gone), spec.v_dim)
        return np.asarray(heads + left * (qk + v), np.float32)

    def _mlp(self, i: int, width: int) -> Changes:
        full = self.base.blocks[i]
        gone = self.blocks.get((i, BlockSpec(full.num_heads, full.qk_dim, full.v_dim, 0)))
        return _interpolated(self._line(i, "mlp_width", gone), width)

    def _line(self, i: int, name: str, gone: Changes | None) -> dict[int, Changes]:
        """Collect measured replacements of block ``i`` that change only ``name``: width -> change."""
        full = self.base.blocks[i]
        line = {getattr(full, name): self._zero()} | ({} if gone is None else {0: gone})
        for (block, spec), change in self.blocks.items():
            if block == i and all(getattr(spec, f) == getattr(full, f) for f in _FIELDS if f != name):
                line[getattr(spec, name)] = change
        return line

    def _zero(self) -> Changes:
        some = next(iter([*self.blocks.values(), *self.embeds.values(), *self.sizes.values()]))
        return np.zeros_like(some)


@dataclass(frozen=True)
class Anchor:
    """A net that was really run, from which others are predicted.

    Args:
        arch: Its shape.
        logits: (B, C) of it, up to a constant per image.
        moves: Changes of its logits when one block takes another shape, measured on it.
        gain: What the base's changes become here, as one factor: measured moves regressed on the base's differences.
    """

    arch: Arch
    logits: Changes
    moves: Mapping[Move, Changes] = field(default_factory=dict)
    gain: float = 1.0


class ChangeModel:
    """Predicts the KL of whole nets from the nearest net that was really run, and changes of single blocks.

    Args:
        singles: Of the base.
        log_targets: (B, C) the base's log probabilities of the same images.
        weights: (B,) what each image weighs in the mean; None where all weigh alike.
    """

    def __init__(self, singles: SingleChanges, log_targets: Changes, weights: Floats | None = None) -> None:
        self.singles = singles
        self.weights = np.ones(len(log_targets)) if weights is None else weights
        self.log_targets = log_targets
        self.anchors: list[Anchor] = [Anchor(singles.base, log_targets)]

    def add(self, arch: Arch, logits: Changes, moves: Mapping[Move, Changes]) -> Anchor:
        """Expand at ``arch`` too: its logits (B, C), and what single moves change of them."""
        base_moves = {move: self._base_difference(arch, move) for move in moves}
        top = sum(float((moves[m] * base_moves[m]).sum()) for m in moves)
        below = sum(float(np.square(base_moves[m]).sum()) for m in moves)
        anchor = Anchor(arch, logits, dict(moves), max(0.0, top / below) if below > 0 else 1.0)
        self.anchors.append(anchor)
        return anchor

    def logits(self, archs: Sequence[Arch]) -> Changes:
        """Predict the logits of each arch: (n, B, C), up to a constant per image."""
        if not archs:
            return np.zeros((0, *self.log_targets.shape), np.float32)
        return np.stack([self._logits(arch) for arch in archs])

    def kl(self, archs: Sequence[Arch]) -> Floats:
        """Predict KL(base ‖ net) in nats of each arch: (n,)."""
        return self.kl_of(self.logits(archs))

    def kl_of(self, logits: Changes) -> Floats:
        """KL(base ‖ net) in nats of logits (..., B, C): (...,)."""
        return np.asarray((kl_rows(self.log_targets, logits) * self.weights).mean(axis=-1), np.float64)

    def _logits(self, arch: Arch) -> Changes:
        anchor = self._nearest(arch)
        total = anchor.logits.copy()
        for i, (mine, theirs) in enumerate(zip(arch.blocks, anchor.arch.blocks, strict=True)):
            if mine == theirs:
                continue
            found = anchor.moves.get((i, mine))
            if found is None:
                difference = self.singles.block(i, mine) - self.singles.block(i, theirs)
                found = np.float32(anchor.gain) * difference
            total += found
        if arch.embed_dim != anchor.arch.embed_dim:
            total += self.singles.embed(arch.embed_dim) - self.singles.embed(anchor.arch.embed_dim)
        if arch.img_size != anchor.arch.img_size:
            total += self.singles.size(arch.img_size) - self.singles.size(anchor.arch.img_size)
        return total

    def _nearest(self, arch: Arch) -> Anchor:
        """Find the anchor with the fewest blocks in another shape; the latest of several."""
        return min(reversed(self.anchors), key=lambda anchor: num_different(anchor.arch, arch))

    def _base_difference(self, arch: Arch, move: Move) -> Changes:
        i, spec = move
        return np.asarray(self.singles.block(i, spec) - self.singles.block(i, arch.blocks[i]), np.float32)


def num_different(one: Arch, other: Arch) -> int:
    """Count blocks of another shape, another ``embed_dim``, and another image size."""
    blocks = sum(a != b for a, b in zip(one.blocks, other.blocks, strict=True))
    return blocks + (one.embed_dim != other.embed_dim) + (one.img_size != other.img_size)


def kl_rows(log_targets: Changes, logits: Changes) -> Floats:
    """KL(target ‖ softmax(logits)) per image: (..., B) of (B, C) and (..., B, C)."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    found = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    wanted = log_targets.astype(np.float64)
    return np.asarray((np.exp(wanted) * (wanted - found)).sum(axis=-1))


def _interpolated(points: Mapping[int, Changes], width: int) -> Changes:
    """Interpolate linearly between the widths on both sides; outside, the nearest."""
    if width in points:
        return points[width]
    lower = max((w for w in points if w < width), default=None)
    upper = min((w for w in points if w > width), default=None)
    if lower is None or upper is None:
        return points[min(points, key=lambda w: abs(w - width))]
    share = np.float32((width - lower) / (upper - lower))
    return np.asarray((1 - share) * points[lower] + share * points[upper], np.float32)


def singles_from_library(base: Arch, archs: Sequence[Arch], changes: Sequence[Changes]) -> SingleChanges:
    """Read changes of single replacements, one per whole arch; archs as ``prior_from_library`` takes them."""
    blocks: dict[Move, Changes] = {}
    embeds: dict[int, Changes] = {}
    sizes: dict[ImgSize, Changes] = {}
    for arch, change in zip(archs, changes, strict=True):
        changed = [i for i, (a, b) in enumerate(zip(arch.blocks, base.blocks, strict=True)) if a != b]
        if arch.embed_dim != base.embed_dim:
            embeds[arch.embed_dim] = change
        elif arch.img_size != base.img_size:
            sizes[arch.img_size] = change
        elif changed:
            blocks[changed[0], arch.blocks[changed[0]]] = change
    return SingleChanges(base, blocks, embeds, sizes)
