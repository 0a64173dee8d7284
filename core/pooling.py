"""What a head that is fitted to a task reads of a base that came without one: as people name it. No torch is loaded."""

from typing import Literal, cast, get_args

from nuwa_search.core.arch import Arch, GlobalPool

HeadPool = Literal["auto", "token", "avg", "token_avg"]
HEAD_POOLS: tuple[HeadPool, ...] = get_args(HeadPool)
POOLS: tuple[GlobalPool, ...] = ("token", "avg", "token_avg")
"""What a fitted head may read, simplest first: the class token, the mean of the patch tokens, or both."""
POOL_NAMES: dict[GlobalPool, str] = {
    "token": "the class token",
    "avg": "the mean of the patch tokens",
    "token_avg": "the class token beside the mean of the patch tokens",
    "dist": "the class and distillation tokens",
    "patches": "each patch token",
}
"""As sentences say them."""
NO_HEAD_CLASSES = 1
"""Outputs of the stand-in head of a base without one: its features are all that is used."""


def pools_of(arch: Arch, wanted: HeadPool = "auto") -> tuple[GlobalPool, ...]:
    """List the kinds of pooling that a fitted head may choose among, simplest first; none where ``wanted`` is not."""
    can = tuple(
        pool
        for pool in POOLS
        if (pool == "avg" or arch.num_prefix_tokens) and (pool != "token_avg" or arch.final_norm != "after_pool")
    )
    return can if wanted == "auto" else tuple(pool for pool in can if pool == wanted)


def read_by_head(base: Arch) -> tuple[GlobalPool, ...]:
    """List what heads of a base's subnets may read: what its own does, or, where it has none, what one may choose."""
    if base.num_classes != NO_HEAD_CLASSES or base.is_dense:
        return (base.global_pool,)
    return (base.global_pool, *(pool for pool in pools_of(base) if pool != base.global_pool))


def pool_of(arch: Arch) -> HeadPool:
    """Name the pooling of a net that was cut from a base without a head, so that its teacher is found again."""
    return cast(HeadPool, arch.global_pool) if arch.global_pool in POOLS else "auto"
