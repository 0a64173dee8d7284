"""The search space: which widths each block of a base may take, and archs as points of it."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, is_cut_by, is_within, num_pixels_of, size_words, width_of

Genome = npt.NDArray[np.int64]
"""(num_params,) indices into the choices of ``SearchSpace.params``, in their order."""

WIDTH_MULTIPLE = 8
"""Widths are multiples of 8: tensor cores and vector units work on such tiles (NuWa, arXiv 2504.03118, floors to 8)."""

EMBED_PARAM = "embed_dim"
SIZE_PARAM = "img_size"
ATTN_FIELDS = ("num_heads", "qk_dim", "v_dim")
BLOCK_FIELDS = (*ATTN_FIELDS, "mlp_width")


@dataclass(frozen=True)
class BlockChoices:
    """Widths one block may take, each ascending; 0 among heads or MLP widths lets that branch go."""

    num_heads: tuple[int, ...]
    qk_dim: tuple[int, ...]
    v_dim: tuple[int, ...]
    mlp_width: tuple[int, ...]

    @cached_property
    def attn_options(self) -> tuple[tuple[int, int, int], ...]:
        """All distinct (num_heads, qk_dim, v_dim); (0, 0, 0) is no attention."""
        whole = itertools.product([h for h in self.num_heads if h], self.qk_dim, self.v_dim)
        return ((0, 0, 0), *whole) if 0 in self.num_heads else tuple(whole)

    @cached_property
    def specs(self) -> tuple[BlockSpec, ...]:
        """All distinct blocks."""
        return tuple(BlockSpec(*attn, mlp) for attn in self.attn_options for mlp in self.mlp_width)


@dataclass(frozen=True)
class SearchSpace:
    """All archs that keep a base's positions and take every width from a list of choices.

    Args:
        base: The arch that subnets are cut from; block ``i`` of an arch is its block ``i``.
        blocks: Choices of every block of ``base``.
        embed_dims: Choices of ``embed_dim``, ascending.
        min_attn: Attention branches that must be left; without any, the class token sees no patch.
        img_sizes: Choices of the image's size in pixels, both sides ascending, the base's own the largest; empty for
            that alone. Each is known by its width, which of a square is its side.
    """

    base: Arch
    blocks: tuple[BlockChoices, ...]
    embed_dims: tuple[int, ...]
    min_attn: int = 1
    img_sizes: tuple[ImgSize, ...] = ()

    def __post_init__(self) -> None:
        _check_sizes(self.img_sizes, self.base)
        if len(self.blocks) != len(self.base.blocks):
            raise NuwaError(
                f"a search space needs choices for {len(self.base.blocks)} blocks, found {len(self.blocks)}"
            )
        _check_choices("embed_dim", self.embed_dims, self.base.embed_dim, may_vanish=False)
        for i, (mine, full) in enumerate(zip(self.blocks, self.base.blocks, strict=True)):
            for name in BLOCK_FIELDS:
                may_vanish = name in ("num_heads", "mlp_width") or getattr(full, name) == 0
                _check_choices(
                    f"{block_param(i, name)}", getattr(mine, name), getattr(full, name), may_vanish=may_vanish
                )

    @cached_property
    def params(self) -> dict[str, tuple[int, ...]]:
        """Choices by readable name (``block03.mlp_width``, ``embed_dim``), those with a single one left out."""
        return {name: choices for name, choices in self._named.items() if len(choices) > 1}

    @cached_property
    def _named(self) -> dict[str, tuple[int, ...]]:
        return {
            block_param(i, name): getattr(block, name) for i, block in enumerate(self.blocks) for name in BLOCK_FIELDS
        } | {EMBED_PARAM: self.embed_dims, SIZE_PARAM: tuple(map(width_of, self.sizes))}

    @property
    def sizes(self) -> tuple[ImgSize, ...]:
        """Image sizes to choose among, ascending: at least the base's own."""
        return self.img_sizes or (self.base.img_size,)

    @property
    def params_of_base(self) -> dict[str, int]:
        """Name every width of the base, those without a choice too."""
        blocks = {
            block_param(i, name): int(getattr(block, name))
            for i, block in enumerate(self.base.blocks)
            for name in BLOCK_FIELDS
        }
        return blocks | {EMBED_PARAM: self.base.embed_dim, SIZE_PARAM: width_of(self.base.img_size)}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.params)}

    @cached_property
    def size(self) -> int:
        """Number of distinct archs."""
        ways = [1]  # ways[a]: block prefixes with ``a`` attention branches
        for block in self.blocks:
            num_mlp = len(block.mlp_width)
            without = num_mlp if 0 in block.num_heads else 0
            with_attn = (len(block.attn_options) - (1 if without else 0)) * num_mlp
            ways = [
                (ways[a] * without if a < len(ways) else 0) + (ways[a - 1] * with_attn if a else 0)
                for a in range(len(ways) + 1)
            ]
        return sum(ways[self.min_attn :]) * len(self.embed_dims) * len(self.sizes)

    def make(
        self, blocks: Sequence[BlockSpec], *, embed_dim: int | None = None, img_size: ImgSize | None = None
    ) -> Arch:
        """Build the arch with these blocks; a cut ``embed_dim`` turns layernorm into rmsnorm, as derivation does."""
        embed = self.base.embed_dim if embed_dim is None else embed_dim
        norm = "rmsnorm" if embed < self.base.embed_dim else self.base.norm
        size = self.base.img_size if img_size is None else img_size
        return dataclasses.replace(self.base, blocks=tuple(blocks), embed_dim=embed, norm=norm, img_size=size)

    def with_blocks(self, arch: Arch, blocks: Sequence[BlockSpec]) -> Arch:
        """Build ``arch`` with other blocks: its width and image size stay."""
        return self.make(blocks, embed_dim=arch.embed_dim, img_size=arch.img_size)

    def contains(self, arch: Arch) -> bool:
        """Whether ``arch`` is in this space, position by position."""
        return self.has_attention(arch) and self._is_point(arch)

    def has_attention(self, arch: Arch) -> bool:
        """Whether enough attention branches are left."""
        return sum(block.has_attn for block in arch.blocks) >= self.min_attn

    def _is_point(self, arch: Arch) -> bool:
        return (
            len(arch.blocks) == len(self.blocks)
            and arch.embed_dim in self.embed_dims
            and arch.img_size in self.sizes
            and all(self._allows(i, block) for i, block in enumerate(arch.blocks))
            and arch == self.with_blocks(arch, arch.blocks)
        )

    def _allows(self, i: int, block: BlockSpec) -> bool:
        choices = self.blocks[i]
        attn = (block.num_heads, block.qk_dim, block.v_dim)
        if block.mlp_width not in choices.mlp_width or block.num_heads not in choices.num_heads:
            return False
        return attn == (0, 0, 0) or (block.qk_dim in choices.qk_dim and block.v_dim in choices.v_dim)

    def arch_from_genome(self, genome: Genome) -> Arch:
        """Decode a genome; widths of a branch that is gone are ignored, so many genomes mean one arch."""
        picks = [*genome.tolist(), 0]  # the last one serves fields with a single choice
        blocks = [_make_block(*(choices[picks[place]] for place, choices in fields)) for fields in self._layout]
        embed, size = (picks[self._places.get(name, -1)] for name in (EMBED_PARAM, SIZE_PARAM))
        return self.make(blocks, embed_dim=self.embed_dims[embed], img_size=self.sizes[size])

    @cached_property
    def _layout(self) -> tuple[tuple[tuple[int, tuple[int, ...]], ...], ...]:
        """Per block and field: place in a genome (-1: not there) and choices."""
        return tuple(
            tuple((self._places.get(block_param(i, name), -1), getattr(block, name)) for name in BLOCK_FIELDS)
            for i, block in enumerate(self.blocks)
        )

    def genome_from_arch(self, arch: Arch) -> Genome:
        """Encode an arch; widths of a branch that is gone take their largest choice.

        Raises:
            NuwaError: If a width of the arch is no choice; too little attention is not minded here.
        """
        return np.array([self.params[name].index(v) for name, v in self.params_from_arch(arch).items()], np.int64)

    def params_from_arch(self, arch: Arch) -> dict[str, int]:
        """Encode an arch as named values, in the order of ``params``.

        Raises:
            NuwaError: If a width of the arch is no choice; too little attention is not minded here.
        """
        if not self._is_point(arch):
            raise NuwaError(f"arch {arch.arch_id} is not in the search space", hint="cut it from the same base")
        values: dict[str, int] = {}
        for i, block in enumerate(arch.blocks):
            for name in BLOCK_FIELDS:
                gone = not block.has_attn and name in ("qk_dim", "v_dim")
                values[block_param(i, name)] = max(getattr(self.blocks[i], name)) if gone else getattr(block, name)
        values[EMBED_PARAM], values[SIZE_PARAM] = arch.embed_dim, width_of(arch.img_size)
        return {name: values[name] for name in self.params}

    def has_params(self, values: Mapping[str, int]) -> bool:
        """Whether named values decode to an arch of this space: another version's may have had other choices.

        Values of what has a single choice here may be left out; where they are given, they must be that one.
        """
        named = self._named
        return self.params.keys() <= values.keys() and all(
            value in named.get(name, ()) for name, value in values.items()
        )

    def arch_from_params(self, values: Mapping[str, int]) -> Arch:
        """Decode named values.

        Raises:
            NuwaError: If a name is missing or a value is no choice.
        """
        for name, choices in self.params.items():
            if values.get(name) not in choices:
                raise NuwaError(f"search space needs {name} among {choices}, found {values.get(name)}")
        picks = [choices.index(values[name]) for name, choices in self.params.items()]
        return self.arch_from_genome(np.array(picks, dtype=np.int64))

    def sample(self, rng: np.random.Generator) -> Arch:
        """Draw every choice uniformly; repeated until enough attention is left."""
        sizes = [len(choices) for choices in self.params.values()]
        while True:
            arch = self.arch_from_genome(rng.integers(0, sizes))
            if self.has_attention(arch):
                return arch

    def enumerate(self) -> Iterator[Arch]:
        """Yield every arch once; ask ``size`` first."""
        for embed_dim, img_size in itertools.product(self.embed_dims, self.sizes):
            for blocks in itertools.product(*(block.specs for block in self.blocks)):
                arch = self.make(blocks, embed_dim=embed_dim, img_size=img_size)
                if self.has_attention(arch):
                    yield arch

    def uniform_family(self) -> Iterator[Arch]:
        """Yield archs whose blocks are all cut to the same widths, no branch removed.

        A block without that choice keeps its next larger one (NuWa's block-uniform cut: blocks narrower than
        the target keep their width, arXiv 2504.03118).
        """
        targets = [sorted({v for block in self.blocks for v in getattr(block, name) if v}) for name in BLOCK_FIELDS]
        seen: set[Arch] = set()
        for embed_dim, img_size, *widths in itertools.product(self.embed_dims, self.sizes, *targets):
            cut = [_cut_to(block, widths) for block in self.blocks]
            arch = self.make(cut, embed_dim=embed_dim, img_size=img_size)
            if arch not in seen and self.contains(arch):
                seen.add(arch)
                yield arch


def block_param(i: int, field: str) -> str:
    """Name the parameter of one field of block ``i``, such as ``block03.mlp_width``."""
    return f"block{i:02d}.{field}"


_BLOCKS: dict[tuple[int, int, int, int], BlockSpec] = {}


def _make_block(heads: int, qk: int, v: int, mlp: int) -> BlockSpec:
    key = (heads, qk, v, mlp) if heads else (0, 0, 0, mlp)
    if key not in _BLOCKS:  # decoding runs thousands of times per proposal; specs are few and immutable
        _BLOCKS[key] = BlockSpec(*key) if any(key) else EMPTY_BLOCK
    return _BLOCKS[key]


def _cut_to(block: BlockChoices, widths: Sequence[int]) -> BlockSpec:
    values = []
    for name, target in zip(BLOCK_FIELDS, widths, strict=True):
        choices = getattr(block, name)
        values.append(next((c for c in choices if c >= target), choices[-1]))
    return _make_block(*values)


def _check_sizes(sizes: tuple[ImgSize, ...], base: Arch) -> None:
    if not sizes:
        return
    is_ascending = all(is_within(less, more) for less, more in itertools.pairwise(sizes))
    if not is_ascending or sizes[-1] != base.img_size or not all(is_cut_by(s, base.patch_size) for s in sizes):
        raise NuwaError(
            f"image sizes must ascend to the base's {size_words(base.img_size)} in multiples of its patch of "
            f"{base.patch_size}, found {', '.join(map(size_words, sizes))}"
        )


def _check_choices(name: str, choices: tuple[int, ...], full: int, *, may_vanish: bool) -> None:
    if not choices or list(choices) != sorted(set(choices)) or choices[0] < 0 or choices[-1] > full:
        raise NuwaError(f"choices of {name} must ascend within 0..{full}, found {choices}")
    if choices[0] == 0 and not may_vanish:
        raise NuwaError(f"choices of {name} must be positive, found {choices}")
    if not name.endswith("num_heads") and any(c % WIDTH_MULTIPLE and c != full for c in choices):
        raise NuwaError(
            f"choices of {name} must be multiples of {WIDTH_MULTIPLE} or the base's {full}, found {choices}"
        )


def space_from_base(
    base: Arch,
    *,
    mlp_steps: int = 8,
    dim_steps: int = 4,
    embed_dims: Sequence[int] | None = None,
    img_sizes: Sequence[ImgSize] = (),
) -> SearchSpace:
    """Build the default space of a base: every branch may go, widths shrink in even steps of at least 8.

    Args:
        base: A ViT without empty blocks.
        mlp_steps: Steps from nothing to the whole MLP; 8 gives 0, 1/8, 2/8, …, 1.
        dim_steps: Steps of ``qk_dim`` and ``v_dim``; 4 gives 1/4, 2/4, 3/4, 1.
        embed_dims: Choices of ``embed_dim``; None keeps the base's.
        img_sizes: Choices of the image's size in pixels below the base's own; empty for none.
    """
    blocks = tuple(
        BlockChoices(
            num_heads=tuple(range(block.num_heads + 1)),
            qk_dim=_even_steps(block.qk_dim, dim_steps),
            v_dim=_even_steps(block.v_dim, dim_steps),
            mlp_width=tuple(sorted({0, *_even_steps(block.mlp_width, mlp_steps)})),
        )
        for block in base.blocks
    )
    embeds = tuple(sorted({*(embed_dims or ()), base.embed_dim}))
    sizes = tuple(sorted({*img_sizes, base.img_size}, key=num_pixels_of)) if img_sizes else ()
    return SearchSpace(base=base, blocks=blocks, embed_dims=embeds, img_sizes=sizes)


def _even_steps(full: int, steps: int) -> tuple[int, ...]:
    widths = {math.ceil(full * k / steps / WIDTH_MULTIPLE) * WIDTH_MULTIPLE for k in range(1, steps)}
    return tuple(sorted({w for w in widths if w < full} | {full}))
