"""Derive real subnets from a base in closed form, many per task.

Source: NuWa (arXiv 2504.03118), extended to heads, branches, blocks and the embedding width.
"""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from nuwa_search.core.accelerator import device_of
from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.heads import fit_head, restrict_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import ImgSize, num_pixels_of, size_words
from nuwa_search.core.logits import logits_of
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.search.derive.assemble import Tensors, assemble, trunk_tensors
from nuwa_search.search.derive.branches import cut_attention, cut_mlp
from nuwa_search.search.derive.fits import require_fits
from nuwa_search.search.derive.forward import blocks_of, branches_of
from nuwa_search.search.derive.guide_streams import GuideStreams
from nuwa_search.search.derive.memo import Memo
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.plan import OnImages, Plan, Run, make_plan, run_here
from nuwa_search.search.derive.refine import Wide, most_images, refine
from nuwa_search.search.derive.rotation import is_rotated, rotate_tensors, unrotated, writer_rotation
from nuwa_search.search.precision import scoring_context

CHUNK = 32
"""Images that pass through the model at once for its logits: of 257 tokens, some 100 MB."""
SHIFT_IMAGES = 64
"""Training images that tell by how much mean logits move with the image's size: of each of three classes 21."""
MEMO_SHARE = 0.25
"""Solved branches kept in memory, as a share of the base's bytes (at least ``MEMO_BYTES``)."""
MEMO_BYTES = 64_000_000
"""Holds about 20 widths of every branch of a ViT-Ti."""


class Deriver:
    """Cut subnets out of one model for one task; safe to call from several threads.

    Args:
        model: Base with the task's head, restricted or fitted, on the device to work on.
        train: Training images of the task.
        preprocess: Preprocessing of the base.
        cache: Where statistics are kept between runs; None keeps them in memory only.
        options: Ingredients.
        train_at: The training images, in their order, at another image size: a net of that size is refined on them.
            Statistics are of the model's own size whatever the net's.
    """

    def __init__(
        self,
        model: PlainViT,
        train: SplitTensors,
        preprocess: Preprocess,
        *,
        cache: Cache | None = None,
        options: DeriveOptions | None = None,
        train_at: Callable[[ImgSize], SplitTensors] | None = None,
    ) -> None:
        self.model = model
        self.train = train
        self.preprocess = preprocess
        self.cache = cache
        self.options = options or DeriveOptions()
        self._train_at = train_at
        self._logits: dict[int, torch.Tensor] = {}
        self._shifts: dict[ImgSize, torch.Tensor] = {}
        self._guides: dict[tuple[int, ImgSize], GuideStreams] = {}
        self.prepare_seconds = 0.0
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        self._memo = Memo(max(MEMO_BYTES, int(4 * MEMO_SHARE * count_params(model.arch))))

    def __getstate__(self) -> dict[str, object]:
        """Travel to a worker process with the plan, so that nothing is computed twice there, without the lock.

        Nor with the way to images of other sizes, which opens files, or the base's streams: what a worker derives is
        not refined, and what is known of those sizes travels.
        """
        state = {name: value for name, value in vars(self).items() if name != "_lock"}
        return state | {"_train_at": None, "_guides": {}}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def prepare(self, *, on_images: OnImages | None = None, run: Run = run_here) -> Plan:
        """Take statistics and factorise, once; later calls answer at once.

        Args:
            on_images: Called with what is gathered, images done, and images in all.
            run: Where the images pass through the model.
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
                    run=run,
                )
                self.prepare_seconds = time.perf_counter() - start
            return self._plan

    @torch.no_grad()
    def prepare_sizes(self, img_sizes: Sequence[ImgSize]) -> None:
        """Learn what nets of other image sizes need, once; a deriver that goes to another process takes it along."""
        for size in img_sizes:
            self._shift_of(size)

    @torch.no_grad()
    def derive(self, arch: Arch) -> PlainViT:
        """Cut ``arch`` out of the model.

        Args:
            arch: Entry i of its blocks speaks of block i of the model; an empty entry removes it. Its image size may
                be another: the weights are those of the model's own size, with positions resampled (learnt ones as
                timm does; rotary ones are computed anew).

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
        if max_images is None:  # what quick looks share is not needed any more
            with self._lock:
                self._guides.clear()
        subnet = self._derive_once(arch)
        base = self.model.arch
        if arch == base:
            return subnet  # nothing was cut, nothing is to be mended
        plan, wide, to_subnet = self.prepare(), subnet, None
        if is_rotated(arch, base):
            wide = self._derive_once(unrotated(arch, base))
            to_subnet = writer_rotation(plan.axes, arch=arch, base=base).float()
        count = min(self.options.refine_images, most_images(arch))
        count = count if max_images is None else min(count, max_images)
        images, logits = spread_evenly(self.train, count), None
        if arch.img_size != base.img_size:
            logits = self._full_size_logits(images)
            images = spread_evenly(self._train_of(arch.img_size), count)
        guide = self._guide_of(images, arch.img_size, is_kept=max_images is not None)
        aim = Wide(guide, copy.deepcopy(wide), to_subnet, logits)
        refine(subnet, aim, arch=arch, ridge=self.options.refine_ridge, bf16=self.options.bf16)
        return subnet

    def _guide_of(self, images: SplitTensors, img_size: ImgSize, *, is_kept: bool) -> GuideStreams:
        """Return the base's streams on training images, those of quick looks kept for the next one.

        Where the solves see all tokens there would be too much to keep.
        """
        plan = self.prepare()

        def build(is_whole: bool) -> GuideStreams:
            base = vit_at_size(plan.model, img_size, name="the base")
            tokens, bf16 = self.options.moment_tokens, self.options.bf16
            return GuideStreams(base, images, self.preprocess, tokens=tokens, bf16=bf16, is_kept=is_whole)

        if not is_kept or not self.options.moment_tokens:
            return build(False)
        with self._lock:
            key = (len(images), img_size)
            if key not in self._guides:
                self._guides[key] = build(True)
            return self._guides[key]

    def _train_of(self, img_size: ImgSize) -> SplitTensors:
        """Return the training images at another size.

        Raises:
            NuwaError: If there is no way to them, or they are not the same ones.
        """
        found = None if self._train_at is None else self._train_at(img_size)
        if found is None or not torch.equal(found.labels, self.train.labels):
            raise NuwaError(
                f"a net of {size_words(img_size)} pixels is refined on the training images at that size, and there are "
                "none",
                hint="give Deriver a train_at that makes them, in the order of train",
            )
        return found

    def _shift_of(self, img_size: ImgSize) -> torch.Tensor:
        """Return by how much the model's mean logits (num_classes,) fall when its images shrink; added to head biases.

        A head that was made for one size is off at another by much the same for all images: on the default base and
        its textiles the mean alone brought KL at 168 px from 0.28 to 0.23, and a head solved on 384 images to 0.23.
        Without images of that size nothing is added.
        """
        if self._train_at is None:
            return self._shifts.get(img_size, torch.zeros(self.model.arch.num_classes))
        if img_size not in self._shifts:
            images = spread_evenly(self._train_of(img_size), SHIFT_IMAGES)
            resized = vit_at_size(self.prepare().model, img_size, name="the base")
            preprocess = replace(self.preprocess, img_size=img_size)
            with scoring_context(device_of(self.model)):
                seen = logits_of(resized, images.images, preprocess, batch=CHUNK)
            wanted = self._full_size_logits(spread_evenly(self.train, SHIFT_IMAGES))
            self._shifts[img_size] = (wanted.double().mean(dim=0) - seen.double().mean(dim=0)).float()
        return self._shifts[img_size]

    def _full_size_logits(self, images: SplitTensors) -> torch.Tensor:
        """Logits (N, num_classes) of the model itself on images of its own size, kept for nets of any size."""
        count = len(images)
        if count not in self._logits:
            with scoring_context(device_of(self.model)):
                self._logits[count] = logits_of(self.prepare().model, images.images, self.preprocess, batch=CHUNK)
        return self._logits[count]

    def _derive_once(self, arch: Arch) -> PlainViT:
        base = self.model.arch
        if num_pixels_of(arch.img_size) < num_pixels_of(base.img_size):
            own = self._derive_once(replace(arch, img_size=base.img_size))
            resized = vit_at_size(own, arch.img_size, name="the subnet")
            resized.head.bias.add_(self._shift_of(arch.img_size).to(resized.head.bias.device))
            return resized
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

    Args:
        base: The base model with its preprocessing.
        task: Images and classes; its training split is decoded, and a head is fitted where the base lacks the classes.
        arch: Shape to cut, as in ``Deriver.derive``.
        cache: Where statistics are kept between runs; None keeps them in memory only.

    Raises:
        NuwaError: If ``arch`` does not fit in the base with the task's head.
    """
    train = split_tensors(task.train, base.preprocess)
    if task.base_classes is None:
        model = fit_head(base.model, train, base.preprocess, num_classes=task.num_classes, metric=task.metric)
    else:
        model = restrict_head(base.model, task.base_classes)
    return Deriver(model, train, base.preprocess, cache=cache).derive(arch)
