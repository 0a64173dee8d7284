"""Turn archs into sums of unit times, quickly.

Every branch shape is predicted once and remembered by number; an arch is then a list of numbers, and a
batch is summed in one go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockContext, BlockKey, context_of, label_of
from nuwa_search.predictors.latency.stem_times import StemTimes
from nuwa_search.predictors.latency.unit_times import Branch, GroupTimes, fit_groups, group_of, point_of

Array = npt.NDArray[np.float64]
_DECIMALS = 9  # 1e-9 ms is a picosecond
_Shape = tuple[int, int, int] | int  # (num_heads, qk_dim, v_dim) of attention, or mlp_width


@dataclass(frozen=True)
class Encoded:
    """Times of every branch of a batch of archs, in the order of the net, in milliseconds.

    Columns alternate: 2i is the attention branch of an arch's i-th block, 2i + 1 its MLP; branches
    that are gone and places past the end hold zeros.

    Args:
        work: What each branch is for the device, (num_archs, num_columns).
        launch: What launching it takes, (num_archs, num_columns); zeros on devices fed in time.
        variance: Of ``work``, ms², (num_archs,), summed over the branches.
        is_there: Which columns are branches, (num_archs, num_columns).
        stem: Net without blocks, (num_archs,).
    """

    work: Array
    launch: Array
    variance: Array
    is_there: npt.NDArray[np.bool_]
    stem: Array

    @property
    def num_attn(self) -> Array:
        """Attention branches, (num_archs,)."""
        return np.asarray(self.is_there[:, 0::2].sum(axis=1), dtype=np.float64)

    @property
    def num_mlp(self) -> Array:
        """MLP branches, (num_archs,)."""
        return np.asarray(self.is_there[:, 1::2].sum(axis=1), dtype=np.float64)

    @property
    def num_whole(self) -> Array:
        """Blocks with both branches, (num_archs,)."""
        return np.asarray((self.is_there[:, 0::2] & self.is_there[:, 1::2]).sum(axis=1), dtype=np.float64)

    @property
    def additive(self) -> Array:
        """Plain block sum: what a chain of each branch alone took, and the stem, (num_archs,)."""
        return np.asarray(np.maximum(self.work, self.launch).sum(axis=1) + self.stem, dtype=np.float64)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Encoded":
        """Pick archs of the batch."""
        return Encoded(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True)
class Scale:
    """Factors on the stages of another device's times; 1 for a device with rows of its own."""

    work: float = 1.0
    launch: float = 1.0
    stem: float = 1.0

    def applied(self, encoded: Encoded) -> Encoded:
        """Scale a batch."""
        if self == Scale():
            return encoded
        return replace(
            encoded,
            work=encoded.work * self.work,
            launch=encoded.launch * self.launch,
            variance=encoded.variance * self.work**2,
            stem=encoded.stem * self.stem,
        )


class UnitTimes:
    """Times of every branch and stem that a latency table speaks of, and sums over archs.

    Args:
        rows: Rows of one table.
        device_name: Named in the error for what the table lacks.
        joined: Numbers of tokens whose rows are interpolated together; empty where each stands for itself.
    """

    def __init__(self, rows: Sequence[TableRow], *, device_name: str, joined: Sequence[int] = ()) -> None:
        self.device_name = device_name
        self._joined = frozenset(joined)
        self._groups = fit_groups(rows, self._joined)
        self._stems = StemTimes(rows, self._joined)
        self._numbers: dict[Branch, dict[BlockContext, dict[_Shape, int]]] = {"attn": {}, "mlp": {}}
        self._times = np.zeros((1, 3))  # work, launch, variance; number 0 is a branch that is gone
        self._contexts: dict[tuple[object, ...], BlockContext] = {}

    def group(self, branch: Branch, context: BlockContext) -> GroupTimes:
        """Find the times of a branch in a context.

        Raises:
            NuwaError: If the table has no row of that kind at all.
        """
        found = self._groups.get(group_of(branch, context, self._joined))
        if found is None:
            block = BlockSpec(1, 8, 8, 0) if branch == "attn" else BlockSpec(0, 0, 0, 8)
            raise NuwaError(
                f"the latency table of {self.device_name} has no row like: {label_of(BlockKey(block, context))}",
                hint=f"nuwa profile {self.device_name}",
            )
        return found

    def encode(self, archs: Sequence[Arch]) -> Encoded:
        """Sum times over each arch.

        Raises:
            NuwaError: If the table lacks a kind of row; names it and the command that measures it.
        """
        contexts = [self._context(arch) for arch in archs]
        numbers, depths = self._number(archs, contexts)
        columns = 2 * max(depths, default=0)
        row = np.repeat(np.arange(len(archs)), 2 * np.asarray(depths, dtype=np.intp))
        start = np.cumsum([0, *(2 * d for d in depths[:-1])]) if depths else np.zeros(0, dtype=np.intp)
        column = np.arange(len(numbers)) - np.repeat(start, 2 * np.asarray(depths, dtype=np.intp))
        placed = np.zeros((len(archs), columns), dtype=np.intp)
        placed[row, column] = numbers
        times = self._times[placed]
        return Encoded(
            work=times[:, :, 0],
            launch=times[:, :, 1],
            variance=times[:, :, 2].sum(axis=1),
            is_there=placed > 0,
            stem=self._stems.predict(archs, device_name=self.device_name),
        )

    def _context(self, arch: Arch) -> BlockContext:
        key = (
            arch.embed_dim,
            arch.img_size,
            arch.patch_size,
            arch.num_prefix_tokens,
            arch.norm,
            arch.act,
            arch.qkv_bias,
            arch.rope_dim,
        )
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = context_of(arch)
        return found

    def _number(self, archs: Sequence[Arch], contexts: Sequence[BlockContext]) -> tuple[list[int], list[int]]:
        """List the numbers of all branches, two per block, and the depth of each arch."""
        for attempt in range(2):
            numbers: list[int] = []
            depths: list[int] = []
            try:
                for arch, context in zip(archs, contexts, strict=True):
                    attn_of, mlp_of = self._numbers["attn"][context], self._numbers["mlp"][context]
                    before = len(numbers)
                    for block in arch.blocks:
                        heads, width = block.num_heads, block.mlp_width
                        if heads:
                            numbers.append(attn_of[heads, block.qk_dim, block.v_dim])
                            numbers.append(mlp_of[width] if width else 0)
                        elif width:
                            numbers += (0, mlp_of[width])
                    depths.append((len(numbers) - before) // 2)
            except KeyError:
                if attempt:
                    raise
                self._meet(archs, contexts)
            else:
                break
        return numbers, depths

    def _meet(self, archs: Sequence[Arch], contexts: Sequence[BlockContext]) -> None:
        """Predict every branch of the batch that has no number yet."""
        wanted: dict[tuple[Branch, BlockContext], dict[_Shape, BlockSpec]] = {}
        for arch, context in zip(archs, contexts, strict=True):
            for branch in ("attn", "mlp"):
                known = self._numbers[branch].setdefault(context, {})
                for block in arch.blocks:
                    if block.has_attn if branch == "attn" else block.has_mlp:
                        shape = _shape(branch, block)
                        if shape not in known:
                            wanted.setdefault((branch, context), {})[shape] = block
        self._predict_by_group(wanted)

    def _predict_by_group(self, wanted: dict[tuple[Branch, BlockContext], dict[_Shape, BlockSpec]]) -> None:
        for (branch, context), shapes in wanted.items():
            places = [point_of(branch, block, context, self._joined) for block in shapes.values()]
            points = np.array(places, dtype=np.float64)
            work, launch, sd = self.group(branch, context).predict(points)
            # The last bits depend on what else is in the batch; a pinned predictor must not.
            work, launch = np.round(work, _DECIMALS), np.round(launch, _DECIMALS)
            first = len(self._times)
            self._times = np.concatenate([self._times, np.stack([work, launch, sd**2], axis=1)])
            for offset, shape in enumerate(shapes):
                self._numbers[branch][context][shape] = first + offset


def _shape(branch: Branch, block: BlockSpec) -> _Shape:
    return (block.num_heads, block.qk_dim, block.v_dim) if branch == "attn" else block.mlp_width
