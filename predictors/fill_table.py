"""Fill a latency table: a coarse grid first, then the rows whose time is least certain."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.pooling import read_by_head
from nuwa_search.latency.table.axes import Axes, attn_keys, coarse, contexts_in, farthest_first, mlp_keys
from nuwa_search.latency.table.build import measure_rows
from nuwa_search.latency.table.chain import frame_of
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.timer import ArchTimer, Notebook
from nuwa_search.latency.table.unit import BlockContext, BlockKey, UnitKey, stem_of
from nuwa_search.latency.table.watch import Progress, Watch
from nuwa_search.predictors.latency.background import Background
from nuwa_search.predictors.latency.choose_rows import next_rows
from nuwa_search.predictors.latency.unit_times import Branch

# Rows chosen between two fits of the interpolation: few enough to follow what was learned, many
# enough that fitting takes a small part of the time.
_BATCH = 12
# So many rows of a kind are measured whatever the time: fewer make no interpolation.
_MUST = 5
# Rows of a kind at each further image size. They tell by how much time grows with tokens, whose work is counted; how it
# grows with widths is known from the base's own. With those alone and the stems, two further sizes of a ViT-S take less
# than half as many rows as its own 198.
_SIZED = 24
# Rows in busy company are exact about work; alone, launches hardly vary with widths, so fewer will do.
_ALONE_EVERY = 4


@dataclass(frozen=True)
class TablePlan:
    """How far a table is filled.

    Args:
        axes: Widths of the subnets.
        max_rows: Most rows of one kind of branch in one group of contexts.
        per_axis: Points per axis of the coarse grid for attention.
        mlp_points: Points of the coarse grid for MLPs.
        embed_points: Embedding widths of the coarse grid.
        img_sizes: Further sizes of the base's images in pixels: few rows each, which the base's own are carried over
            to (``_SIZED`` per kind).
    """

    axes: Axes
    max_rows: int = 120
    per_axis: int = 3
    mlp_points: int = 9
    embed_points: int = 3
    img_sizes: tuple[ImgSize, ...] = ()


def fill_table(
    plan: TablePlan,
    *,
    base: Arch,
    timer: ArchTimer,
    notebook: Notebook,
    background: Background,
    relative_sd: float,
    watch: Watch | None = None,
) -> list[TableRow]:
    """Measure what ``notebook`` lacks of the plan, most useful rows first.

    Args:
        plan: How far the table is filled.
        base: Whose subnets the table speaks of.
        timer: Measures archs.
        notebook: What is known, and where new rows go.
        background: What keeps the device busy, as probed.
        relative_sd: Standard error of one measurement relative to its value.
        watch: Who is told (rows in the table and None in all, since what is uncertain shows on the way), and when to
            stop; a handful of rows of each kind is measured all the same. None for nobody and never.

    Returns:
        The new rows.
    """
    watch = watch or Watch()
    counted = replace(watch, progress=_counted(watch.progress, notebook))
    filler = _Filler(plan, base, timer, notebook, background, relative_sd, counted)
    deadline = watch.deadline
    added = filler.measure([stem_of(arch) for arch in stem_archs(base, plan)], deadline=None)
    groups = contexts_in(base, plan.axes)
    for contexts in groups:
        thin = coarse(plan.axes, per_axis=plan.per_axis, mlp=plan.mlp_points, embed=plan.embed_points)
        few = [c for c in contexts if c.embed_dim in thin.embed_dims] or contexts
        queues = [farthest_first(keys) for keys in (attn_keys(thin, few), mlp_keys(thin, few))]
        for keys in queues:
            added += filler.both(keys[:_MUST], alone_every=2)
        for keys in queues:
            added += filler.both(keys[_MUST:], alone_every=_ALONE_EVERY, deadline=deadline)
    for size in plan.img_sizes:
        added += filler.at_size(replace(base, img_size=size))
    for contexts in groups:
        added += filler.refine(contexts, deadline=deadline)
    return added


def _counted(progress: Progress | None, notebook: Notebook) -> Progress | None:
    """Report the rows of the whole table: what the step at hand plans is a small part of it."""
    if progress is None:
        return None
    rows = itertools.count(len(notebook.rows()) + 1)

    def count(label: str, _done: int, _total: int | None) -> None:
        progress(label, next(rows), None)

    return count


@dataclass(frozen=True)
class _Filler:
    plan: TablePlan
    base: Arch
    timer: ArchTimer
    notebook: Notebook
    background: Background
    relative_sd: float
    watch: Watch

    def measure(
        self, keys: Sequence[UnitKey], *, deadline: float | None, behind: BlockSpec | None = None
    ) -> list[TableRow]:
        return measure_rows(
            keys,
            timer=self.timer,
            notebook=self.notebook,
            frame=frame_of(self.base),
            relative_sd=self.relative_sd,
            background=behind,
            watch=self.watch.until(deadline),
        )

    def both(self, keys: Sequence[BlockKey], *, alone_every: int, deadline: float | None = None) -> list[TableRow]:
        """Measure keys of one kind in every company that the device needs."""
        if not keys:
            return []
        branch: Branch = "attn" if keys[0].kind == "attn" else "mlp"
        behind = self.background.blocks.get(branch)
        if behind is None:
            return self.measure(keys, deadline=deadline)
        busy = [replace(key, company="busy") for key in keys]
        added = self.measure(busy, deadline=deadline, behind=behind)
        return added + self.measure(keys[::alone_every], deadline=deadline)

    def at_size(self, sized: Arch) -> list[TableRow]:
        """Measure a few rows of every kind, and the stems, for the base at another image size."""
        there = replace(self, base=sized)
        thin = coarse(self.plan.axes, per_axis=self.plan.per_axis, mlp=self.plan.mlp_points, embed=1)
        added = there.measure([stem_of(arch) for arch in _stems_of(frame_of(sized), thin)], deadline=None)
        for contexts in contexts_in(sized, thin):
            for keys in (attn_keys(thin, contexts), mlp_keys(thin, contexts)):
                added += there.both(farthest_first(keys)[:_SIZED], alone_every=_ALONE_EVERY)
        return added

    def refine(self, contexts: Sequence[BlockContext], *, deadline: float | None) -> list[TableRow]:
        """Measure uncertain rows in turn for attention and MLPs until all are good enough."""
        added: list[TableRow] = []
        every = {"attn": attn_keys(self.plan.axes, contexts), "mlp": mlp_keys(self.plan.axes, contexts)}
        open_kinds = set(every)
        while open_kinds and not self.watch.until(deadline).is_over:
            for kind in sorted(open_kinds):
                rows = self.notebook.rows()
                inside = dict.fromkeys(every[kind])
                known = {replace(r.key, company="alone") for r in rows if isinstance(r.key, BlockKey)}
                left = [key for key in inside if key not in known]
                room = self.plan.max_rows - (len(inside) - len(left))
                batch = next_rows(left, rows, count=min(_BATCH, room))
                if not batch:
                    open_kinds.discard(kind)
                    continue
                added += self.both(batch, alone_every=_ALONE_EVERY, deadline=deadline)
        return added


def _stems_of(frame: Arch, axes: Axes) -> list[Arch]:
    """List the ends of nets of one image size: for each way to pool, whole and with the stream cut."""
    cut = [replace(frame, embed_dim=width, norm="rmsnorm") for width in axes.embed_dims]
    return [replace(stem, global_pool=pool) for pool in read_by_head(frame) for stem in (frame, *cut)]


def stem_archs(base: Arch, plan: TablePlan) -> list[Arch]:
    """Choose nets without blocks: the base's ends, fewer classes, and the cut embedding widths.

    A base without a head has them for all that a fitted one may read.
    """
    frame = frame_of(base)
    few = max(2, base.num_classes // 10)
    stems = [frame, replace(frame, num_classes=few)]
    widths = coarse(plan.axes, per_axis=1, mlp=1, embed=plan.embed_points + 1).embed_dims
    stems += [replace(frame, embed_dim=width, norm="rmsnorm") for width in widths]
    if widths:
        stems.append(replace(frame, embed_dim=widths[-1], norm="rmsnorm", num_classes=few))
    return [replace(stem, global_pool=pool) for pool in read_by_head(base) for stem in stems]
