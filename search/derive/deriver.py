"""Derive real subnets from a base in closed form, many per task.

Source: NuWa (arXiv 2504.03118), extended to heads, branches, blocks and the embedding width.
"""

import copy
import threading
import time
from dataclasses import dataclass, replace

import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_params
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import fit_head, restrict_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.assemble import Tensors, assemble, trunk_tensors
from nuwa_search.search.derive.branches import cut_attention, cut_mlp
from nuwa_search.search.derive.fits import require_fits
from nuwa_search.search.derive.forward import blocks_of, branches_of
from nuwa_search.search.derive.memo import Memo
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.plan import OnImages, Plan, make_plan
from nuwa_search.search.derive.refine import Wide, most_images, refine
from nuwa_search.search.derive.rotation import is_rotated, rotate_tensors, unrotated, writer_rotation

MEMO_SHARE = 0.25
"""Solved branches kept in memory, as a share of the base's bytes (at least ``MEMO_BYTES``)."""
MEMO_BYTES = 64_000_000
"""Holds about 20 widths of every branch of a ViT-Ti."""


class Deriver:
    """Cut subnets out of one model for one task; safe to call from several threads.

    Args:
        model: Base with the task's head, restricted or fitted, on the device to work on.
        train: Training images of the task.
        preprocess: Of the base.
        cache: Where statistics are kept between runs; None keeps them in memory only.
        options: Ingredients.
    """

    def __init__(
        self,
        model: PlainViT,
        train: SplitTensors,
        preprocess: Preprocess,
        *,
        cache: Cache | None = None,
        options: DeriveOptions | None = None,
    ) -> None:
        self.model = model
        self.train = train
        self.preprocess = preprocess
        self.cache = cache
        self.options = options or DeriveOptions()
        self.prepare_seconds = 0.0
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        self._memo = Memo(max(MEMO_BYTES, int(4 * MEMO_SHARE * count_params(model.arch))))

    def __getstate__(self) -> dict[str, object]:
        """Travel to a worker process with the plan, so that nothing is computed twice there, without the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def prepare(self, *, on_images: OnImages | None = None) -> Plan:
        """Take statistics and factorise, once; later calls answer at once.

        Args:
            on_images: Called with what is gathered, images done, and images in all.
        """
        with self._lock:
            if self._plan is None:
                start = time.perf_counter()
                self._plan = make_plan(
                    self.model,
                    self.train,
                    self.preprocess,
                    cache=self.cache,
                    options=self.options,
                    on_images=on_images,
                )
                self.prepare_seconds = time.perf_counter() - start
            return self._plan

    @torch.no_grad()
    def derive(self, arch: Arch) -> PlainViT:
        """Cut ``arch`` out of the model.

        Args:
            arch: Entry i of its blocks speaks of block i of the model; an empty entry removes it.

        Raises:
            NuwaError: If ``arch`` does not fit in the model; what exceeds what is named.
        """
        return self.derive_refined(arch) if self.options.refine else self._derive_once(arch)

    @torch.no_grad()
    def derive_refined(self, arch: Arch, *, max_images: int | None = None) -> PlainViT:
        """Cut ``arch`` and solve it again on its own activations, whatever ``options.refine`` says.

        Args:
            arch: As in ``derive``.
            max_images: At most so many training images, for a quicker look; None for ``options.refine_images``.

        Raises:
            NuwaError: If ``arch`` does not fit in the model.
        """
        subnet = self._derive_once(arch)
        base = self.model.arch
        if arch == base:
            return subnet  # nothing was cut, nothing is to be mended
        plan, wide, to_subnet = self.prepare(), subnet, None
        if is_rotated(arch, base):
            wide = self._derive_once(unrotated(arch, base))
            to_subnet = writer_rotation(plan.axes, arch=arch, base=base).float()
        aim = Wide(plan.model, copy.deepcopy(wide), to_subnet)
        count = min(self.options.refine_images, most_images(base))
        images = spread_evenly(self.train, count if max_images is None else min(count, max_images))
        refine(
            subnet,
            aim,
            arch=arch,
            split=images,
            preprocess=self.preprocess,
            ridge=self.options.refine_ridge,
            tokens=self.options.moment_tokens,
        )
        return subnet

    def _derive_once(self, arch: Arch) -> PlainViT:
        base = self.model.arch
        require_fits(arch, base)
        plan = self.prepare()
        tensors = trunk_tensors(plan.model)
        kept = _kept_branches(arch)
        had = [branch.index for branch in branches_of(plan.model)]
        lead = [index for index in had if not kept or index < kept[0]]
        self._fold_into_tokens(plan, tensors, lead)
        place = {i: k for k, i in enumerate(sorted({index // 2 for index in kept}))}
        for index, until in zip(kept, [*kept[1:], 2 * len(arch.blocks)], strict=True):
            block, kind = f"blocks.{place[index // 2]}", BRANCH_NAMES[index % 2]
            norm = blocks_of(plan.model)[index // 2].get_submodule(kind.norm)
            tensors |= {f"{block}.{kind.norm}.{key}": value.float().clone() for key, value in norm.state_dict().items()}
            gone = [after for after in had if index < after < until]
            made = self._branch(plan, index, arch.blocks[index // 2], gone)
            tensors |= {f"{block}.{kind.body}.{key}": value.clone() for key, value in made.items()}
        if is_rotated(arch, base):
            tensors = rotate_tensors(tensors, axes=plan.axes, energy=plan.energy, arch=arch, base=base)
        return assemble(arch, tensors)

    def _branch(self, plan: Plan, index: int, spec: BlockSpec, gone: list[int]) -> Tensors:
        """Cut branch ``index``; it makes up for the branches ``gone`` that follow it."""
        if not self.options.depth_correction:
            gone = []
        used = BlockSpec(0, 0, 0, spec.mlp_width) if index % 2 else replace(spec, mlp_width=0)
        key = (index, used, tuple(gone))
        return self._memo.get(key, lambda: self._solve_branch(plan, index, used, gone))

    def _solve_branch(self, plan: Plan, index: int, spec: BlockSpec, gone: list[int]) -> Tensors:
        block, least_squares = blocks_of(plan.model)[index // 2], self.options.least_squares
        steps = {after: plan.order[after] - plan.order[index] for after in gone}
        near = [after for after in gone if least_squares and steps[after] <= self.options.reach]
        ahead = [steps[after] for after in near]
        made: Tensors = {}
        if block.attn is not None and spec.has_attn:
            ridge = self.options.ridge if least_squares else None
            made = cut_attention(block.attn, plan.attention[index], spec, ridge=ridge, ahead=ahead)
        elif block.mlp is not None:
            made = cut_mlp(block.mlp, plan.neurons[index], spec.mlp_width, least_squares=least_squares, ahead=ahead)
        bias = "fc2.bias" if index % 2 else "proj.bias"
        for after in gone:
            if after not in near:
                made[bias] = made[bias] + plan.moments.branches[after].output.mean(dim=0).float()
        return made

    def _fold_into_tokens(self, plan: Plan, tensors: Tensors, lead: list[int]) -> None:
        """Add the mean outputs (N, C) of branches removed before the first that stays to the input tokens."""
        if not self.options.depth_correction or plan.model.arch.pre_norm:
            return  # what stands before a first norm is no part of the residual stream
        prefix = plan.model.arch.num_prefix_tokens
        for index in lead:
            mean = plan.moments.branches[index].output.float()
            tensors["prefix_tokens"] = tensors["prefix_tokens"] + mean[:prefix]
            tensors["pos_embed"] = tensors["pos_embed"] + mean[prefix:]


@dataclass(frozen=True)
class _Names:
    norm: str
    body: str


BRANCH_NAMES = (_Names("norm1", "attn"), _Names("norm2", "mlp"))


def _kept_branches(arch: Arch) -> list[int]:
    pairs = [(spec.has_attn, spec.has_mlp) for spec in arch.blocks]
    return [2 * i + j for i, pair in enumerate(pairs) for j in range(2) if pair[j]]


def derive(base: Base, task: Task, arch: Arch, *, cache: Cache | None = None) -> PlainViT:
    """Cut one subnet out of ``base`` for ``task``; a ``Deriver`` is faster for more than one.

    Raises:
        NuwaError: If ``arch`` does not fit in the base with the task's head.
    """
    train = split_tensors(task.train, base.preprocess)
    if task.base_classes is None:
        model = fit_head(base.model, train, base.preprocess, num_classes=task.num_classes, metric=task.metric)
    else:
        model = restrict_head(base.model, task.base_classes)
    return Deriver(model, train, base.preprocess, cache=cache).derive(arch)
