"""Parts of a base that a search leaves whole, chosen by globs over their names."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize
from nuwa_search.search.space import ATTN_FIELDS, BlockChoices, SearchSpace, space_from_base

EMBED_PART = "embed"
"""The width of the residual stream, which embedding, every block and head share."""


def part_names(base: Arch) -> tuple[str, ...]:
    """List the names of a base's parts that can be cut: ``embed``, and of each block ``blocks.3`` and its branches."""
    names = [EMBED_PART]
    for i, block in enumerate(base.blocks):
        branches = (("attn", block.has_attn), ("mlp", block.has_mlp))
        names += [f"blocks.{i}", *(f"blocks.{i}.{branch}" for branch, is_there in branches if is_there)]
    return tuple(names)


def kept_parts(base: Arch, globs: Sequence[str]) -> tuple[str, ...]:
    """List the parts that globs name, in the base's order; of a block that is kept its branches.

    Args:
        base: Base that is cut.
        globs: As of a shell (``*``, ``?``, ``[0-3]``); ``*`` also spans dots, so that ``blocks.1*`` names blocks 1 and
            10 to 19 with their branches.

    Raises:
        NuwaError: If a glob names nothing, or together they leave nothing to cut.
    """
    names = part_names(base)
    named: set[str] = set()
    for glob in globs:
        found = {name for name in names if fnmatchcase(name, glob)}
        if not found:
            raise NuwaError(f"--keep {glob}: no part of the base is called so", hint=f"its parts: {_listed(names)}")
        named |= found
    leaves = tuple(name for name in names if not _is_block(name))
    kept = tuple(name for name in leaves if name in named or name.rpartition(".")[0] in named)
    if {name for name in leaves if name != EMBED_PART} <= {*kept}:
        raise NuwaError(
            f"--keep {' --keep '.join(globs)} keeps every block whole: nothing is left to cut",
            hint=f"name fewer of {_listed(names)}",
        )
    return kept


def search_space(base: Arch, *, keep: Sequence[str] = (), img_sizes: Sequence[ImgSize] = ()) -> SearchSpace:
    """Build the default space of a base; the parts that ``keep`` names have the base's widths only.

    Args:
        base: Base that is cut.
        keep: Globs over its parts.
        img_sizes: Sides of the image in pixels to choose among beside the base's own.

    Raises:
        NuwaError: If a glob names nothing, or nothing is left to cut.
    """
    space = space_from_base(base, img_sizes=img_sizes)
    if not keep:
        return space
    kept = frozenset(kept_parts(base, keep))
    blocks = tuple(
        _kept_block(choices, base, i, has_attn=f"blocks.{i}.attn" in kept, has_mlp=f"blocks.{i}.mlp" in kept)
        for i, choices in enumerate(space.blocks)
    )
    embed_dims = (base.embed_dim,) if EMBED_PART in kept else space.embed_dims
    return dataclasses.replace(space, blocks=blocks, embed_dims=embed_dims)


def _kept_block(choices: BlockChoices, base: Arch, i: int, *, has_attn: bool, has_mlp: bool) -> BlockChoices:
    names = (*(ATTN_FIELDS if has_attn else ()), *(("mlp_width",) if has_mlp else ()))
    return dataclasses.replace(choices, **{name: (getattr(base.blocks[i], name),) for name in names})


def _is_block(name: str) -> bool:
    return name.startswith("blocks.") and name.count(".") == 1


def _listed(names: Sequence[str]) -> str:
    """Join names in one line, of each kind the first and the last: ``blocks.0.mlp … blocks.11.mlp``."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.rpartition(".")[2] if name.count(".") > 1 else name.split(".")[0], []).append(name)
    return ", ".join(kind[0] if len(kind) == 1 else f"{kind[0]} … {kind[-1]}" for kind in kinds.values())
