"""The small-model alternative: a uniformly small ViT of equal latency, pretrained instead of cut.

A small net trained on all of the base's data with the base as teacher may beat any net cut out of it; then it is
what should be shipped. It is pretrained once per shape, whatever the task, and cached.
"""

import bisect
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.cost import count_macs
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.judge import Tune

STAGE = "small-model"
MLP_RATIO = 4
"""Hidden width over embedding width, as in every plain ViT (arXiv 2010.11929)."""
INIT_STD = 0.02
"""Standard deviation of truncated normal weights (timm's and DeiT's, arXiv 2012.12877)."""


def small_archs(base: Arch) -> Iterator[Arch]:
    """Yield plain ViTs of up to the base's depth and heads, head width and input kept, all blocks alike."""
    for block, width in _blocks(base):
        for depth in range(1, len(base.blocks) + 1):
            yield dataclasses.replace(base, blocks=(block,) * depth, embed_dim=width)


def _blocks(base: Arch) -> Iterator[tuple[BlockSpec, int]]:
    head_dim = max(block.qk_dim for block in base.blocks)
    for num_heads in range(1, max(block.num_heads for block in base.blocks) + 1):
        width = num_heads * head_dim
        if width > base.embed_dim:
            return
        yield BlockSpec(num_heads, head_dim, head_dim, MLP_RATIO * width), width


def pick_small_arch(base: Arch, *, fits: Callable[[Arch], bool]) -> Arch | None:
    """Choose the uniformly small ViT with the most MACs that fits; None if none does.

    At each width the deepest that fits is found by bisection, since a block more never takes less time: ``fits``
    may measure on a device.
    """
    fitting = []
    for block, width in _blocks(base):
        archs = [
            dataclasses.replace(base, blocks=(block,) * n, embed_dim=width) for n in range(1, len(base.blocks) + 1)
        ]
        deepest = bisect.bisect_left(archs, True, key=lambda arch: not fits(arch))
        fitting += archs[:deepest][-1:]
    return max(fitting, key=lambda arch: (count_macs(arch), arch.depth), default=None)


def fresh_model(arch: Arch, *, seed: int) -> PlainViT:
    """Build an untrained ViT, initialised as ViTs are; torch's random state is not touched."""
    generator = torch.Generator().manual_seed(seed)
    model = PlainViT(arch)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=INIT_STD, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for tokens in (model.prefix_tokens, model.pos_embed):
        nn.init.trunc_normal_(tokens, std=INIT_STD, generator=generator)
    return model.eval()


def pretrained_small(
    arch: Arch, *, pretrain: Tune, steps: int, cache: Cache | None, identity: Sequence[str], seed: int = 0
) -> PlainViT:
    """Pretrain a small ViT, or read it from the cache.

    Args:
        arch: With all of the base's classes.
        pretrain: Distils on the base's full data with the base as teacher.
        steps: Steps of pretraining.
        cache: None trains every time.
        identity: What the weights depend on beside shape, steps and seed: base, data, recipe.
        seed: Seed of the initial weights.
    """

    def train() -> dict[str, torch.Tensor]:
        return pretrain(fresh_model(arch, seed=seed), steps).model.state_dict()

    tensors = train() if cache is None else cache.get(STAGE, _key(arch, steps, identity, seed), train)
    model = PlainViT(arch)
    model.load_state_dict(tensors)
    return model.eval()


def is_pretrained(arch: Arch, *, steps: int, cache: Cache, identity: Sequence[str], seed: int = 0) -> bool:
    """Whether ``pretrained_small`` with the same arguments has nothing to train.

    Args:
        arch: Shape of the small ViT.
        steps: Steps of pretraining.
        cache: Where pretrained weights are kept.
        identity: What the weights depend on beside shape, steps and seed: base, data, recipe.
        seed: Seed of the initial weights.
    """
    return cache.load(STAGE, _key(arch, steps, identity, seed)) is not None


def _key(arch: Arch, steps: int, identity: Sequence[str], seed: int) -> str:
    return content_key(arch.arch_id, steps, seed, *identity)
