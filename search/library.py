"""The library: every block of the base replaced alone, the whole net derived and scored.

The idea is Puzzle's (arXiv 2411.19146). The residual stream before the first changed block is that of the base,
so it is kept; only the rest of the net is run for each replacement, or where classes are few only the branch that
was cut (``nuwa_search.search.linear_changes``). Beside each KL the change of every image's
logits is kept: of those, whole nets are predicted (``nuwa_search.predictors.accuracy.changes``). Images are added until
a bootstrap over them says that the order of the cuts is sure enough.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.vit import PlainViT
from nuwa_search.predictors.accuracy.features import Floats
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.linear_changes import LinearChanges, is_linearised, net_changes
from nuwa_search.search.precision import scoring_context
from nuwa_search.search.scorer import MAP_FIRST_IMAGES, SubnetDeriver, SubnetScore, TeacherScorer, logits_in_parts
from nuwa_search.search.space import BLOCK_FIELDS, BlockChoices, SearchSpace
from nuwa_search.search.streams import Streams

SHARES = (0.25, 0.5)
"""Shares of a block's width that are measured; between them the cost is interpolated."""

NUM_IMAGES = 128
"""Search images per row at most: the library starts the search, whole subnets on more images then correct it."""
FIRST_IMAGES = 32
"""Search images that every row is scored on before it is asked whether more are needed; and added where they are."""
LINEAR_IMAGES = 64
"""The same where changes are taken from gradients: cuts are derived again where images are added."""
ORDER_ERROR = 0.05
"""Share of pairs of cuts whose order may be another on other images, by the bootstrap: above, images are added."""
NUM_RESAMPLES = 20
"""Bootstrap resamples of the images."""


@dataclass(frozen=True)
class LibraryRow:
    """One single replacement: the whole arch with it, and its score.

    Args:
        arch: The base with one change.
        score: On the library's images.
        change: (B, C) what it does to the base's logits, centred over the classes, of maps those of a few patches of
            each image (``TeacherScorer.rows``); None in libraries of before.
    """

    arch: Arch
    score: SubnetScore
    change: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Library:
    """Scores of single replacements of one base for one task."""

    base: Arch
    rows: tuple[LibraryRow, ...]

    @property
    def archs(self) -> list[Arch]:
        return [row.arch for row in self.rows]

    @property
    def kls(self) -> list[float]:
        """KL in nats, one per row."""
        return [row.score.kl for row in self.rows]

    @property
    def order_error(self) -> float:
        """Share of pairs of cuts whose order another draw of as many images would turn; 0 where images are not kept."""
        kls = np.array([row.score.kls for row in self.rows])
        return order_error(kls) if kls.ndim == 2 and kls.size else 0.0


def library_archs(space: SearchSpace) -> list[Arch]:
    """List the base with one change each: a branch or block gone, fewer heads, narrower q/k, v or MLP, embedding.

    The uncut base at each smaller image size is a row like any other: cuts are priced at the base's own size only.
    """
    base = space.base
    archs = []
    for i, (full, choices) in enumerate(zip(base.blocks, space.blocks, strict=True)):
        archs += [space.make([*base.blocks[:i], spec, *base.blocks[i + 1 :]]) for spec in _replacements(full, choices)]
    archs += [space.make(base.blocks, embed_dim=d) for d in space.embed_dims if d < base.embed_dim]
    archs += [space.make(base.blocks, img_size=size) for size in space.sizes if size != base.img_size]
    return archs


def _replacements(full: BlockSpec, choices: BlockChoices) -> Iterator[BlockSpec]:
    drops_attn, drops_mlp = full.has_attn and 0 in choices.num_heads, full.has_mlp and 0 in choices.mlp_width
    if drops_attn:
        yield BlockSpec(0, 0, 0, full.mlp_width)
    if drops_mlp:
        yield dataclasses.replace(full, mlp_width=0)
    if drops_attn and drops_mlp:
        yield BlockSpec(0, 0, 0, 0)
    for name in BLOCK_FIELDS:
        width = getattr(full, name)
        smaller = [c for c in getattr(choices, name) if 0 < c < width]
        for value in sorted({min(smaller, key=lambda c: abs(c - width * share)) for share in SHARES if smaller}):
            yield dataclasses.replace(full, **{name: value})


def build_library(
    space: SearchSpace,
    *,
    deriver: SubnetDeriver,
    scorer: TeacherScorer,
    teacher: PlainViT,
    num_images: int = NUM_IMAGES,
    first_images: int | None = None,
    on_row: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Library:
    """Derive and score every single replacement.

    Args:
        space: Says what may be replaced by what.
        deriver: Cuts the nets.
        scorer: Scores them on the search split.
        teacher: What the deriver cuts from; its stream is reused up to the first block that differs.
        num_images: Images per row at most, the first of the scorer's.
        first_images: Images after which more are taken only if the order of the rows needs them; None is
            ``FIRST_IMAGES`` or ``LINEAR_IMAGES`` where an image has many tokens, else all: small images cost little.
        on_row: Called with (rows done, rows in all), again from the start where images are added.
        should_stop: Asked before every row; the library is then short, and usable.
    """
    archs, is_backwards = library_archs(space), is_linearised(space.base)
    if is_backwards:
        archs.reverse()  # gradients come from the last block
    count = min(num_images, len(scorer.inputs))
    if space.base.is_dense and not is_small(space.base):
        count = min(count, MAP_FIRST_IMAGES)  # of hundreds of answers each
    few = LINEAR_IMAGES if is_backwards else FIRST_IMAGES
    step = first_images or (num_images if is_small(space.base) else few)
    logits: list[Tensor] = []
    own: list[Tensor] = []
    for first in range(0, count, step):
        span = slice(first, min(count, first + step))
        net = net_changes(teacher, scorer.inputs[span])
        sized = _Sized(teacher.arch.img_size, scorer, span)
        more = _run_all(archs, net, sized, deriver=deriver, on_row=on_row, should_stop=should_stop)
        if first and len(more) < len(archs):
            break  # out of time: all rows on fewer images serve better than some rows on more
        logits = [torch.cat(pair) for pair in zip(logits, more, strict=True)] if first else more
        with torch.inference_mode(), scoring_context(scorer.inputs.device):
            own.append(net.logits)
        kls = np.array([scorer.score_logits(row).kls for row in logits])
        if len(more) < len(archs) or order_error(kls) <= ORDER_ERROR:
            break
    # From the teacher in the same arithmetic: its rounding is common to all rows, and would add up with them.
    rows = [
        LibraryRow(arch, scorer.score_logits(row), _centred(scorer.rows(row - torch.cat(own))))
        for arch, row in zip(archs, logits, strict=False)  # short where it was stopped
    ]
    return Library(base=space.base, rows=tuple(reversed(rows) if is_backwards else rows))


@dataclass(frozen=True)
class _Sized:
    """Runs nets of another image size than the teacher's on the same images at theirs."""

    own: ImgSize
    scorer: TeacherScorer
    span: slice

    def is_own(self, arch: Arch) -> bool:
        return arch.img_size == self.own

    def run(self, model: PlainViT) -> Tensor:
        return logits_in_parts(model, self.scorer.inputs_at(model.arch.img_size)[self.span])


def _centred(change: Tensor) -> Tensor:
    """Take off the mean over the classes, which no probability depends on: (B, C)."""
    return change - change.mean(dim=1, keepdim=True)


def _run_all(
    archs: list[Arch],
    net: Streams | LinearChanges,
    sized: "_Sized",
    *,
    deriver: SubnetDeriver,
    on_row: Callable[[int, int], None] | None,
    should_stop: Callable[[], bool] | None,
) -> list[Tensor]:
    """Derive every arch and give its logits (B, C) on the images of ``net``; fewer where it is stopped."""
    logits: list[Tensor] = []
    for arch in archs:
        if should_stop is not None and should_stop():
            break
        model = deriver.derive(arch)  # may need gradients for its statistics
        with torch.inference_mode(), scoring_context(sized.scorer.inputs.device):
            logits.append(net.run(model) if sized.is_own(arch) else sized.run(model))
        if on_row is not None:
            on_row(len(logits), len(archs))
    return logits


def order_error(kls: Floats, *, seed: int = 0) -> float:
    """Share of pairs of rows that are ordered otherwise by their means over resampled images.

    Args:
        kls: (rows, images).
        seed: Seed of the resamples (bootstrap, Efron, 1979).
    """
    if len(kls) < 2:
        return 0.0
    rng = np.random.default_rng(seed)
    whole, num_images = kls.mean(axis=1), kls.shape[1]
    taus = [
        float(stats.kendalltau(whole, kls[:, rng.integers(0, num_images, num_images)].mean(axis=1)).statistic)
        for _ in range(NUM_RESAMPLES)
    ]
    return (1.0 - float(np.nanmean(taus))) / 2.0 if not np.isnan(taus).all() else 0.0
