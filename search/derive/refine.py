"""Solve a cut net's linear maps once more, in order, on its own activations.

The first solution assumes that everything before a branch is the base's. Here the cut net and the base run side by
side over the same images. Before every branch that stays, its reader (``attn.qkv``, ``mlp.fc1``) is solved to give,
from the cut net's stream, what it would give from the base's; then its writer (``attn.proj``, ``mlp.fc2``) to bring
the stream to where the base's is when the next branch that stays reads it; at last the head against the base's
logits. Each branch thereby corrects the errors of those before as far as it can. Still closed form, but it takes
seconds, and several hundred images: with a few dozen it fits their noise and does harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.forward import Branch, branches_of, moment, with_one
from nuwa_search.search.derive.guide_streams import GuideStreams
from nuwa_search.search.derive.linalg import solve_towards
from nuwa_search.search.derive.token_sample import TokenSample
from nuwa_search.search.precision import statistics_context

MAX_TOKENS = 65_000
"""Tokens whose streams are held at once: 1000 images of 65 tokens, 330 of 197 (200 MB per net at width 768)."""


def most_images(arch: Arch) -> int:
    """Return how many images fit ``MAX_TOKENS``."""
    return max(1, MAX_TOKENS // arch.num_tokens)


@dataclass(frozen=True)
class Wide:
    """What a refined subnet is aimed at.

    Args:
        guide: Streams of the base on the images that the subnet is solved on, at the subnet's image size.
        subnet: The subnet before its stream was rotated, or a copy of it: its readers say what to read.
        to_subnet: (C', C) from the base's stream to the subnet's; None where it was not rotated.
        logits: (N, num_classes) that the head is aimed at, of a base that sees the same images larger; None for those
            of ``guide``.
    """

    guide: GuideStreams
    subnet: PlainViT
    to_subnet: Tensor | None
    logits: Tensor | None = None


@torch.no_grad()
def refine(subnet: PlainViT, wide: Wide, *, arch: Arch, ridge: float, bf16: bool = False) -> None:
    """Change ``subnet``'s readers, writers and head in place.

    Args:
        subnet: Cut from the base.
        wide: The base on images of the task, at most ``most_images`` of them and of every class, and how its stream
            maps to the subnet's.
        arch: Arch of ``subnet`` with empty entries where blocks are gone.
        ridge: Towards the present weights, relative to the mean diagonal of each Gram matrix.
        bf16: Whether the subnet may run in bf16 (``statistics_context``).
    """
    guide = wide.guide
    if len(guide.split) > most_images(arch):
        raise ValueError(
            f"refine takes {most_images(arch)} images of {arch.num_tokens} tokens, found {len(guide.split)}"
        )
    mine = [subnet.embed(x) for x in guide.inputs()]
    arithmetic = statistics_context(mine[0].device, bf16=bf16)
    kept = _kept(subnet, arch)
    starts = [index for index, _ in kept]
    for (index, branch), aim, until in zip(
        kept, branches_of(wide.subnet), [*starts[1:], 2 * len(arch.blocks)], strict=True
    ):
        seen = _picked(guide.samples, mine)
        read, wanted = [branch.norm(x) for x in seen], [aim.read(x) for x in guide.before(index)]
        _fit(branch.reader, read, wanted, ridge, samples=guide.samples)
        targets = guide.before(until)
        if wide.to_subnet is not None:
            targets = [x @ wide.to_subnet.T for x in targets]
        wanted = [target - x for target, x in zip(targets, seen, strict=True)]
        with arithmetic:
            read = [branch.regressors(x).float() for x in mine]  # once: the solve changes what is made of it, not it
        _fit(branch.writer, _picked(guide.samples, read), wanted, ridge, samples=guide.samples)
        with arithmetic:
            mine = [x + branch.writer(made) for x, made in zip(mine, read, strict=True)]
    if wide.logits is None:
        said = guide.logits()
    else:
        said = list(torch.split(wide.logits.to(mine[0].device), [len(x) for x in mine]))
    _fit(subnet.head, [subnet.pool(x) for x in mine], said, ridge)


def _picked(samples: Sequence[TokenSample], streams: Sequence[Tensor]) -> list[Tensor]:
    """Take the tokens that are seen of each chunk: (B, n, K)."""
    return [sample.pick(x) for sample, x in zip(samples, streams, strict=True)]


def _kept(subnet: PlainViT, arch: Arch) -> list[tuple[int, Branch]]:
    """Pair the subnet's branches with the index of the base's branch each was cut from."""
    blocks = [i for i, block in enumerate(arch.blocks) if not block.is_empty]
    return [(2 * blocks[branch.index // 2] + branch.index % 2, branch) for branch in branches_of(subnet)]


def _fit(
    layer: nn.Linear,
    read: Sequence[Tensor],
    wanted: Sequence[Tensor],
    ridge: float,
    *,
    samples: Sequence[TokenSample] | None = None,
) -> None:
    """Solve ``layer(read) ≈ wanted`` over all chunks, towards its present weights.

    With ``samples`` (one per chunk) both are of the tokens that are seen, each of which stands for several.
    """
    size = layer.in_features + 1
    gram = torch.zeros(size, size, dtype=torch.float64, device=layer.weight.device)
    cross = torch.zeros(layer.out_features, size, dtype=torch.float64, device=layer.weight.device)
    count = 0.0
    for k, (x, y) in enumerate(zip(read, wanted, strict=True)):
        rows, aims = with_one(x), y
        if samples is None:
            count += x.shape[:-1].numel()
        else:
            roots = samples[k].roots
            count += len(x) * float(roots.square().sum())
            rows, aims = rows * roots[:, None], y * roots[:, None]
        gram += moment(rows, rows)
        cross += moment(aims, rows)
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
