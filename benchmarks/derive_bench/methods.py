"""Every way of cutting that `derive_bench` compares, as one function from a setting to a net."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.derive_bench import torch_pruning_cut as tp_cut
from benchmarks.derive_bench.allocate import allocate
from benchmarks.derive_bench.choices import ChoiceLibrary, KlJudge, measure_choices
from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_macs
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.logits import logits_of, top1
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions

Cut = Callable[["CutTask", float], PlainViT]

LIBRARY_IMAGES = 100
JUDGE_IMAGES = 200
CHOOSING_IMAGES = 500
TAYLOR_IMAGES = 500
DEFAULT = DeriveOptions()


@dataclass
class CutTask:
    """One task: its teacher, its images, and what has been computed for it so far.

    ``train`` is for statistics and gradients, ``search`` for every choice; the test split is not in here.
    """

    base: Base
    base_folder: Path
    task: Task
    teacher: PlainViT
    train: SplitTensors
    search: SplitTensors
    cache: Cache
    library: ChoiceLibrary | None = None
    allocations: dict[tuple[float, bool], Arch] = dataclasses.field(default_factory=dict)

    def deriver(self, options: DeriveOptions = DEFAULT) -> Deriver:
        """A deriver of this task; statistics come from the cache where they can."""
        return Deriver(self.teacher, self.train, self.base.preprocess, cache=self.cache, options=options)

    def max_macs(self, keep: float) -> int:
        """MACs that the share ``keep`` of the restricted base comes to."""
        return int(keep * count_macs(self.teacher.arch))

    def allocation(self, keep: float, *, removal: bool = True) -> Arch:
        """The arch that the allocation finds for ``keep``; branches, blocks and stream only if ``removal``."""
        if (keep, removal) not in self.allocations:
            deriver = self.deriver()
            if self.library is None:
                few = spread_evenly(self.search, LIBRARY_IMAGES)
                self.library = measure_choices(deriver, few, self.base.preprocess)
            library = self.library if removal else self.library.without_removal()
            judge = KlJudge(self.teacher, spread_evenly(self.search, JUDGE_IMAGES), self.base.preprocess)
            found = allocate(deriver, library, judge, max_macs=self.max_macs(keep))
            self.allocations[keep, removal] = found.arch
        return self.allocations[keep, removal]

    def uniform(self, keep: float) -> Arch:
        """The largest share of QK, V and MLP widths, the same in all blocks, within the budget."""
        base = self.teacher.arch
        fitting = [a for a in (_uniform(base, k / 256) for k in range(1, 257)) if count_macs(a) <= self.max_macs(keep)]
        return max(fitting, key=count_macs)


def _uniform(base: Arch, share: float) -> Arch:
    blocks = tuple(
        dataclasses.replace(
            b,
            qk_dim=max(1, round(share * b.qk_dim)),
            v_dim=max(1, round(share * b.v_dim)),
            mlp_width=max(8, round(share * b.mlp_width / 8) * 8),
        )
        for b in base.blocks
    )
    return dataclasses.replace(base, blocks=blocks)


def _ours(setting: CutTask, keep: float) -> PlainViT:
    return setting.deriver().derive_refined(setting.allocation(keep))


def _quick(options: DeriveOptions = DEFAULT) -> Cut:
    return lambda setting, keep: setting.deriver(options).derive(setting.allocation(keep))


def _purified(options: DeriveOptions) -> Cut:
    return lambda setting, keep: setting.deriver(options).derive_refined(setting.allocation(keep))


def _no_depth(setting: CutTask, keep: float) -> PlainViT:
    return setting.deriver().derive(setting.allocation(keep, removal=False))


def _uniform_cut(options: DeriveOptions = DEFAULT) -> Cut:
    return lambda setting, keep: setting.deriver(options).derive(setting.uniform(keep))


def _torch_pruning(importance: tp_cut.Importance) -> Cut:
    def cut(setting: CutTask, keep: float) -> PlainViT:
        classes = setting.task.base_classes or ()
        net = tp_cut.restricted_timm(setting.base_folder, classes)
        few = spread_evenly(setting.train, TAYLOR_IMAGES)
        gradients = tp_cut.taylor_gradients(net, few, setting.base.preprocess) if importance == "taylor" else {}
        found = [
            tp_cut.prune_to(net, setting.max_macs(keep), importance=importance, gradients=gradients, with_stream=stream)
            for stream in (False, True)
        ]
        return max(found, key=lambda model: _search_top1(setting, model))

    return cut


def _search_top1(setting: CutTask, model: PlainViT) -> float:
    few = spread_evenly(setting.search, CHOOSING_IMAGES)
    return top1(logits_of(model, few.images, setting.base.preprocess), few.labels)


DELETION = DeriveOptions(svd="none", least_squares=False, depth_correction=False, sensitivity_images=0)
SKP_STEPS = 150
METHODS: dict[str, Cut] = {
    "ours": _ours,
    "ours, not refined": _quick(),
    "activation deletion": _uniform_cut(replace(DELETION, ranking="activation")),
    "magnitude": _uniform_cut(replace(DELETION, ranking="magnitude")),
    "torch-pruning L2": _torch_pruning("l2"),
    "torch-pruning Taylor": _torch_pruning("taylor"),
    "ablation: with SKP, decay 0": _purified(DeriveOptions(purify_steps=SKP_STEPS, purify_decay=0.0)),
    "ablation: with SKP, decay 0.05": _purified(DeriveOptions(purify_steps=SKP_STEPS)),
    "ablation: no SVD": _quick(DeriveOptions(svd="none")),
    "ablation: data-free SVD": _quick(DeriveOptions(svd="weights")),
    "ablation: no least squares": _quick(DeriveOptions(least_squares=False)),
    "ablation: activation ranking": _quick(DeriveOptions(ranking="activation")),
    "ablation: no depth correction": _quick(DeriveOptions(depth_correction=False)),
    "ablation: no depth, no stream": _no_depth,
    "ablation: uniform widths": _uniform_cut(),
}
"""Ablations other than SKP's are of the net that is not refined: refining would solve away what they leave out."""
OTHERS = ("activation deletion", "magnitude", "torch-pruning L2", "torch-pruning Taylor")
