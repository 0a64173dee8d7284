"""Derive real subnets from a base in closed form, many per task.

Source: NuWa (arXiv 2504.03118), extended to heads, branches, blocks and the embedding width.
"""

import threading
import time
from collections import OrderedDict

import torch
from torch import Tensor

from nuwa.arch import Arch, BlockSpec
from nuwa.base import Base
from nuwa.cache import Cache
from nuwa.errors import NuwaError
from nuwa.heads import fit_head, restrict_head
from nuwa.images import Preprocess
from nuwa.task import Task
from nuwa.tensors import SplitTensors, split_tensors
from nuwa.vit import PlainViT
from search.derive.assemble import Tensors, assemble, trunk_tensors
from search.derive.branches import cut_attention, cut_mlp
from search.derive.options import DeriveOptions
from search.derive.plan import Plan, make_plan

MEMO_ENTRIES = 256
"""Branch solves kept in memory: about 20 widths for each branch of a 12-block base."""


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
        self._memo: OrderedDict[tuple[int, str, BlockSpec], Tensors] = OrderedDict()

    def prepare(self) -> Plan:
        """Take statistics and factorise, once; later calls answer at once."""
        with self._lock:
            if self._plan is None:
                start = time.perf_counter()
                self._plan = make_plan(self.model, self.train, self.preprocess, cache=self.cache, options=self.options)
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
        base = self.model.arch
        require_fits(arch, base)
        plan = self.prepare()
        tensors = trunk_tensors(plan.model)
        place, last_bias = 0, ""
        for i, spec in enumerate(arch.blocks):
            block = plan.model.blocks[i]
            for kind in ("attn", "mlp"):
                kept, had = getattr(spec, f"has_{kind}"), getattr(base.blocks[i], f"has_{kind}")
                if kept:
                    name = f"blocks.{place}.{kind}"
                    tensors |= {
                        f"{name}.{key}": value.clone() for key, value in self._branch(plan, i, kind, spec).items()
                    }
                    norm = "norm1" if kind == "attn" else "norm2"
                    for key, value in getattr(block, norm).state_dict().items():
                        tensors[f"blocks.{place}.{norm}.{key}"] = value.detach().clone()
                    last_bias = f"{name}.{'proj' if kind == 'attn' else 'fc2'}.bias"
                elif had and self.options.depth_correction:
                    mean = plan.moments.blocks[i].attn_mean if kind == "attn" else plan.moments.blocks[i].mlp_mean
                    _fold_mean(tensors, mean.float(), last_bias, base)
            place += not spec.is_empty
        return assemble(arch, tensors)

    def _branch(self, plan: Plan, index: int, kind: str, spec: BlockSpec) -> Tensors:
        key = (
            index,
            kind,
            BlockSpec(*_attention_part(spec), 0) if kind == "attn" else BlockSpec(0, 0, 0, spec.mlp_width),
        )
        with self._lock:
            if key in self._memo:
                self._memo.move_to_end(key)
                return self._memo[key]
        block = plan.model.blocks[index]
        if kind == "attn":
            ridge = self.options.ridge if self.options.least_squares else None
            made = cut_attention(block.attn, plan.attention[index], spec, ridge=ridge)
        else:
            made = cut_mlp(block.mlp, plan.neurons[index], spec.mlp_width, least_squares=self.options.least_squares)
        with self._lock:
            self._memo[key] = made
            while len(self._memo) > MEMO_ENTRIES:
                self._memo.popitem(last=False)
        return made


def _attention_part(spec: BlockSpec) -> tuple[int, int, int]:
    return spec.num_heads, spec.qk_dim, spec.v_dim


def _fold_mean(tensors: Tensors, mean: Tensor, bias_name: str, base: Arch) -> None:
    """Add a removed branch's mean output (N, C) to the writer before it, or to the tokens if there is none."""
    if bias_name:
        tensors[bias_name] = tensors[bias_name] + mean.mean(dim=0)
        return
    if base.pre_norm:
        return  # what precedes the first norm is no part of the residual stream
    prefix = base.num_prefix_tokens
    tensors["prefix_tokens"] = tensors["prefix_tokens"] + mean[:prefix]
    tensors["pos_embed"] = tensors["pos_embed"] + mean[prefix:]


def require_fits(arch: Arch, base: Arch) -> None:
    """Check that ``arch`` can be cut out of ``base``.

    Raises:
        NuwaError: With what exceeds what.
    """
    if len(arch.blocks) != len(base.blocks):
        raise NuwaError(
            f"the arch has {len(arch.blocks)} block entries, the base {len(base.blocks)}",
            hint="place_blocks says which blocks of the base a shorter arch takes",
        )
    for i, (mine, theirs) in enumerate(zip(arch.blocks, base.blocks, strict=True)):
        for name in ("num_heads", "qk_dim", "v_dim", "mlp_width"):
            if getattr(mine, name) > getattr(theirs, name):
                raise NuwaError(
                    f"block {i} of the arch has {name} {getattr(mine, name)}, the base only {getattr(theirs, name)}"
                )
    if arch.embed_dim > base.embed_dim:
        raise NuwaError(f"the arch has embed_dim {arch.embed_dim}, the base only {base.embed_dim}")
    same = ("num_classes", "img_size", "patch_size", "in_chans", "num_prefix_tokens", "global_pool", "qkv_bias")
    for name in (*same, "pre_norm", "final_norm", "act"):
        if getattr(arch, name) != getattr(base, name):
            raise NuwaError(f"the arch has {name} {getattr(arch, name)!r}, the base {getattr(base, name)!r}")


def derive(base: Base, task: Task, arch: Arch, *, cache: Cache | None = None) -> PlainViT:
    """Cut one subnet out of ``base`` for ``task``; a ``Deriver`` is faster for more than one.

    Raises:
        NuwaError: If ``arch`` does not fit in the base with the task's head.
    """
    train = split_tensors(task.train, base.preprocess)
    if task.base_classes is None:
        model = fit_head(base.model, train, base.preprocess, num_classes=task.num_classes)
    else:
        model = restrict_head(base.model, task.base_classes)
    return Deriver(model, train, base.preprocess, cache=cache).derive(arch)
