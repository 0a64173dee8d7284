"""Solve a cut net's linear maps once more, in order, on its own activations.

The first solution assumes that everything before a branch is the base's. Here the cut net and the base run side by
side over the same images. Before every branch that stays, its reader (``attn.qkv``, ``mlp.fc1``) is solved to give,
from the cut net's stream, what it would give from the base's; then its writer (``attn.proj``, ``mlp.fc2``) to bring
the stream to where the base's is when the next branch that stays reads it; at last the head against the base's
logits. Each branch thereby corrects the errors of those before as far as it can. Still closed form, but it takes
seconds, and several hundred images: with a few dozen it fits their noise and does harm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.forward import Branch, branches_of, moment, with_one
from nuwa_search.search.derive.linalg import solve_towards
from nuwa_search.search.derive.statistics import SAMPLING_SEED, STATISTICS_TOKENS
from nuwa_search.search.derive.token_sample import TokenSample, sample_tokens
from nuwa_search.search.precision import scoring_context, statistics_context

MAX_TOKENS = 65_000
"""Tokens whose streams are held at once: 1000 images of 65 tokens, 330 of 197 (200 MB per net at width 768)."""


def most_images(arch: Arch) -> int:
    """Return how many images fit ``MAX_TOKENS``."""
    return max(1, MAX_TOKENS // arch.num_tokens)


Chunks = list[Tensor]


@dataclass(frozen=True)
class Wide:
    """What a refined subnet is aimed at.

    Args:
        base: With the task's head.
        subnet: The subnet before its stream was rotated, or a copy of it: its readers say what to read.
        to_subnet: (C', C) from the base's stream to the subnet's; None where it was not rotated.
        logits: (N, num_classes) that the head is aimed at, of a base that sees the same images larger; None for those
            of ``base``, which takes the subnet's image size.
    """

    base: PlainViT
    subnet: PlainViT
    to_subnet: Tensor | None
    logits: Tensor | None = None


@torch.no_grad()
def refine(
    subnet: PlainViT,
    wide: Wide,
    *,
    arch: Arch,
    split: SplitTensors,
    preprocess: Preprocess,
    ridge: float,
    tokens: int = 0,
    bf16: bool = False,
) -> None:
    """Change ``subnet``'s readers, writers and head in place.

    Args:
        subnet: Cut from the base.
        wide: The base, and how its stream maps to the subnet's.
        arch: Arch of ``subnet`` with empty entries where blocks are gone.
        split: Images of the task, at most ``most_images``, and of every class: they come in the order of the files,
            so none can be left out here.
        preprocess: Preprocessing of the base.
        ridge: Towards the present weights, relative to the mean diagonal of each Gram matrix.
        tokens: Patch tokens per image that the solves see, drawn anew for each; 0 takes all.
        bf16: Whether the subnet may run in bf16 (``statistics_context``); a base of many tokens does anyway.
    """
    device = next(wide.base.parameters()).device
    if len(split) > most_images(arch):
        raise ValueError(f"refine takes {most_images(arch)} images of {arch.num_tokens} tokens, found {len(split)}")
    parts = torch.split(split.images, max(1, STATISTICS_TOKENS // arch.num_tokens))
    inputs = [normalise(part.to(device), preprocess) for part in parts]
    samples = _samples(parts, arch, tokens=tokens, device=device)
    mine, theirs = [subnet.embed(x) for x in inputs], [wide.base.embed(x) for x in inputs]
    arithmetic = statistics_context(device, bf16=bf16)
    kept, ahead = _kept(subnet, arch), list(branches_of(wide.base))
    starts = [index for index, _ in kept]
    for (index, branch), aim, until in zip(
        kept, branches_of(wide.subnet), [*starts[1:], 2 * len(arch.blocks)], strict=True
    ):
        theirs = _advance(theirs, ahead, index, bf16=bf16)
        _fit(branch.reader, mine, theirs, branch.norm, aim.read, ridge, samples)
        theirs = _advance(theirs, ahead, until, bf16=bf16)
        targets = theirs if wide.to_subnet is None else [x @ wide.to_subnet.T for x in theirs]
        wanted = [target - x for target, x in zip(targets, mine, strict=True)]
        with arithmetic:
            read = [branch.regressors(x).float() for x in mine]  # once: the solve changes what is made of it, not it
        _fit(branch.writer, read, wanted, lambda x: x, lambda x: x, ridge, samples)
        with arithmetic:
            mine = [x + branch.writer(seen) for x, seen in zip(mine, read, strict=True)]
    theirs = _advance(theirs, ahead, 2 * len(arch.blocks), bf16=bf16)
    if wide.logits is not None:
        said = list(torch.split(wide.logits.to(device), [len(x) for x in mine]))
        _fit(subnet.head, mine, said, subnet.pool, lambda x: x, ridge)
        return
    _fit(subnet.head, mine, theirs, subnet.pool, lambda x: wide.base.head(wide.base.pool(x)), ridge)


def _samples(parts: Sequence[Tensor], arch: Arch, *, tokens: int, device: torch.device) -> list[TokenSample]:
    """Draw tokens for each chunk of images; the same for all branches, which read the same streams."""
    generator = torch.Generator().manual_seed(SAMPLING_SEED)
    return [
        sample_tokens(
            len(part),
            num_prefix=arch.num_prefix_tokens,
            num_patches=arch.num_patches,
            count=tokens,
            generator=generator,
            device=device,
        )
        for part in parts
    ]


def _kept(subnet: PlainViT, arch: Arch) -> list[tuple[int, Branch]]:
    """Pair the subnet's branches with the index of the base's branch each was cut from."""
    blocks = [i for i, block in enumerate(arch.blocks) if not block.is_empty]
    return [(2 * blocks[branch.index // 2] + branch.index % 2, branch) for branch in branches_of(subnet)]


def _advance(streams: Chunks, ahead: list[Branch], until: int, *, bf16: bool) -> Chunks:
    """Run the base's branches before ``until`` that have not run yet.

    Where an image has many tokens that takes most of the time, and is done in the arithmetic of scores in any case.
    """
    while ahead and ahead[0].index < until:
        step = ahead.pop(0)
        device, is_large = streams[0].device, streams[0].shape[1] > FEW_TOKENS
        with scoring_context(device) if is_large else statistics_context(device, bf16=bf16):
            streams = [x + step.writer(step.regressors(x)).float() for x in streams]
    return streams


def _fit(
    layer: nn.Linear,
    mine: Sequence[Tensor],
    theirs: Sequence[Tensor],
    reads: Callable[[Tensor], Tensor],
    wants: Callable[[Tensor], Tensor],
    ridge: float,
    samples: Sequence[TokenSample] = (),
) -> None:
    """Solve ``layer(reads(mine)) ≈ wants(theirs)`` over all chunks, towards its present weights.

    With ``samples`` (one per chunk) ``mine`` and ``theirs`` are streams, and ``wants`` speaks of each token alone.
    """
    size = layer.in_features + 1
    gram = torch.zeros(size, size, dtype=torch.float64, device=layer.weight.device)
    cross = torch.zeros(layer.out_features, size, dtype=torch.float64, device=layer.weight.device)
    count = 0
    for k, (x, y) in enumerate(zip(mine, theirs, strict=True)):
        read, seen = reads(x), y
        count += read.shape[:-1].numel()
        if samples and samples[k].places is not None:
            root = samples[k].roots[:, None]
            rows, wanted = with_one(samples[k].pick(read)) * root, wants(samples[k].pick(seen)) * root
        else:
            rows, wanted = with_one(read), wants(seen)
        gram += moment(rows, rows)
        cross += moment(wanted, rows)
    prior = layer.weight.double()
    has_bias = "bias" in dict(layer.named_parameters())
    if has_bias:
        prior = torch.cat([prior, layer.bias.double()[:, None]], dim=1)
    else:
        gram, cross = gram[:-1, :-1], cross[:, :-1]
    solved = solve_towards(gram / count, cross / count, prior, ridge, has_constant=has_bias)
    layer.weight.copy_(solved[:, : layer.in_features])
    if has_bias:
        layer.bias.copy_(solved[:, -1])
