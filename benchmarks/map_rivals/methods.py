"""Ways to a net of a latency: ours, equal widths, fewer blocks, Torch-Pruning, and random search.

All but Torch-Pruning's are cut in the product's closed form and solved once more on their own activations; what
differs is which shape. Where a family has a choice it is made by KL to the base on the search images, never on the
test split.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from benchmarks.derive_bench.torch_pruning_cut import Importance, prune_until
from benchmarks.map_rivals.setting import Setting
from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.cost import count_macs
from nuwa_search.core.even_choice import places_in_turn
from nuwa_search.core.heads import pooled_by, with_head
from nuwa_search.core.logits import normalise
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.recipe import NO_AUGMENT
from nuwa_search.deploy.train.targets import PixelTargets
from nuwa_search.deploy.train.to_timm import timm_from_plain
from nuwa_search.deploy.train.views import draw_view
from nuwa_search.search.feasible import Limits
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.run import run_study
from nuwa_search.search.trials import StudyConfig

NEARLY = 0.97
"""Share of the latency that equal widths come to at least, to be among those that are compared."""
TRIED = 12
"""Of equal widths: those of the most operations."""
HALVES = ("MLP", "attention")
TAYLOR_IMAGES = 96
"""Training images that Taylor importance takes its gradients from, as many as finalists are refined on."""
TAYLOR_BATCH = 8


@dataclass(frozen=True)
class Cut:
    """A net before any tuning.

    Args:
        model: Over the task's classes, with an answer for each patch.
        note: Which of the family it is.
        num_scored: Nets that were run on search images to choose it; 0 where there was no choice.
    """

    model: PlainViT
    note: str
    num_scored: int


Method = Callable[[Setting, int], Cut]


def ours(setting: Setting, seed: int) -> Cut:
    """Cut the winner of our search again."""
    found = setting.searched[seed]
    return Cut(setting.deriver.derive_refined(found.arch), "winner of the search", found.num_scored)


def uniform_widths(setting: Setting, seed: int) -> Cut:
    """Cut every block to the same heads and widths: of those that nearly fill the latency the least KL."""
    timed = [(setting.measure(arch), arch) for arch in setting.space.uniform_family()]
    fitting = [(took, arch) for took, arch in timed if took <= setting.max_ms]
    near = [arch for took, arch in fitting if took >= NEARLY * max(took for took, _ in fitting)]
    tried = sorted(near, key=count_macs, reverse=True)[:TRIED]
    best = _least_kl(setting, seed, tried)
    block = best.blocks[0]
    note = f"{block.num_heads} heads of {block.qk_dim} and {block.v_dim}, MLP {block.mlp_width}"
    return Cut(setting.deriver.derive_refined(best), note, len(tried))


def fewer_blocks(setting: Setting, seed: int) -> Cut:
    """Keep as many whole blocks as the latency allows, and a branch of one more if it fits.

    Which, by KL among as many draws as our search scored nets.
    """
    base = setting.teacher.model.arch
    depth, limit = len(base.blocks), setting.max_ms
    count = next(n for n in range(depth - 1, 0, -1) if setting.measure(_kept_blocks(base, range(n))) <= limit)
    halves = [half for half in HALVES if setting.measure(_kept_blocks(base, range(count), count, half)) <= limit]
    drawn: dict[Arch, str] = {}
    rng = np.random.default_rng([seed, count])
    while len(drawn) < setting.searched[seed].num_scored:
        places = [int(place) for place in rng.permutation(depth)[: count + 1]]
        whole, extra = sorted(places[:count]), places[count]
        half = halves[int(rng.integers(len(halves)))] if halves else None
        note = f"blocks {' '.join(map(str, whole))}" + (f", {half} of {extra}" if half else "")
        drawn[_kept_blocks(base, whole, extra, half)] = note
    best = _least_kl(setting, seed, list(drawn))
    return Cut(setting.deriver.derive_refined(best), drawn[best], len(drawn))


def _kept_blocks(base: Arch, whole: Iterable[int], extra: int = -1, half: str | None = None) -> Arch:
    """Keep some blocks whole, one branch of another, and drop the rest."""
    kept = set(whole)
    blocks = [block if i in kept else EMPTY_BLOCK for i, block in enumerate(base.blocks)]
    if half is not None:
        full = base.blocks[extra]
        mlp = BlockSpec(0, 0, 0, full.mlp_width)
        blocks[extra] = mlp if half == "MLP" else dataclasses.replace(full, mlp_width=0)
    return dataclasses.replace(base, blocks=tuple(blocks))


def _least_kl(setting: Setting, seed: int, archs: Sequence[Arch]) -> Arch:
    """Score all, as derived; those that are behind on the first images are given up, as in a search."""
    scorer = setting.scorer(seed)
    best, least = archs[0], math.inf
    for arch in archs:
        score = scorer.score(setting.deriver.derive(arch), give_up_above=least)
        if not score.is_partial and score.kl < least:
            best, least = arch, score.kl
    return best


def torch_pruning(setting: Setting, seed: int) -> Cut:
    """Take the best of Torch-Pruning's L2 and Taylor importance, with and without the residual stream, by KL."""
    net = timm_with_head(setting.teacher.model)
    gradients = taylor_gradients(net, setting)
    scorer = setting.scorer(seed)
    found: list[tuple[float, str, PlainViT]] = []
    for importance, with_stream in itertools.product(("l2", "taylor"), (False, True)):
        kind: Importance = "taylor" if importance == "taylor" else "l2"
        try:
            pruned = prune_until(
                net,
                lambda arch: setting.measure(arch) <= setting.max_ms,
                importance=kind,
                gradients=gradients if kind == "taylor" else {},
                with_stream=with_stream,
            )
        except ValueError:  # its blocks all stay, and may take longer than that however narrow they are
            continue
        model = with_head(pooled_by(pruned, "patches"), pruned.head.weight.detach(), pruned.head.bias.detach())
        found.append((scorer.score(model).kl, f"{kind}{', stream too' if with_stream else ''}", model))
    _, note, best = min(found, key=lambda one: one[0])
    return Cut(best, note, len(found))


def timm_with_head(teacher: PlainViT) -> VisionTransformer:
    """Turn a net for pixels into timm's; its head is that of patches, whatever is pooled."""
    weight, bias = teacher.head.weight.detach(), teacher.head.bias.detach()
    net = timm_from_plain(with_head(pooled_by(teacher, "avg"), weight, bias))
    if not isinstance(net, VisionTransformer):
        raise TypeError(f"timm made a {type(net).__name__}")
    return net.eval()


def map_of(net: VisionTransformer, inputs: torch.Tensor) -> torch.Tensor:
    """Answer for every patch with timm's net: (B, C, h, w)."""
    tokens = net.forward_features(inputs)[:, net.num_prefix_tokens :]
    scores: torch.Tensor = net.head(tokens).transpose(1, 2)
    height, width = net.patch_embed.grid_size
    return scores.reshape(*scores.shape[:2], height, width)


def taylor_gradients(net: VisionTransformer, setting: Setting) -> dict[str, torch.Tensor]:
    """Gradients of the tuning's cross-entropy of pixels over some training images, by parameter name."""
    train = setting.tensors.train.take(places_in_turn(setting.tensors.train, TAYLOR_IMAGES))
    if train.masks is None:
        raise TypeError("these images have no masks")
    targets = PixelTargets(train.masks, num_classes=setting.task.num_classes)
    size = setting.teacher.model.arch.img_size
    view = draw_view(FinetuneConfig(augment=NO_AUGMENT), 0, num_images=len(train), img_size=size)
    net.zero_grad()
    for indices in torch.split(torch.arange(len(train)), TAYLOR_BATCH):
        logits = map_of(net, normalise(train.images[indices], setting.base.preprocess))
        torch.autograd.backward(len(indices) * targets.hard(logits, view, indices))
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    return found


def random_search(setting: Setting, seed: int) -> Cut:
    """Score as many random nets that keep the latency as our search scored, and take the least KL that really does.

    A draw that is too slow is cut down to the budget, as a proposal of our study is.
    """
    count = setting.searched[seed].num_scored
    study = run_study(
        setting.space,
        deriver=setting.deriver,
        scorer=setting.scorer(seed),
        limits=Limits(setting.predictor, setting.max_ms),
        config=StudyConfig(trials=count, seed=seed, sampler="random", guided=False, max_proposals_per_trial=10_000),
        guidance=Guidance(seeds=()),
    )
    ranked = sorted((trial for trial in study.fitting if trial.kl is not None), key=lambda trial: trial.kl or 0.0)
    best = next(trial for trial in ranked if setting.measure(trial.arch) <= setting.max_ms)
    return Cut(setting.deriver.derive_refined(best.arch), f"draw {best.number}", study.num_evaluations)


OURS = "ours"
METHODS: dict[str, Method] = {
    OURS: ours,
    "uniform widths": uniform_widths,
    "fewer blocks": fewer_blocks,
    "Torch-Pruning": torch_pruning,
    "random search": random_search,
}
SAME_FOR_ALL_SEEDS = ("uniform widths", "Torch-Pruning")
"""Nothing in them is drawn but the images of the KL: one net, chosen with the first seed, serves every seed, whose
tuning sees the images in another order."""
