"""Turn archs into sums of unit prices, quickly.

Every branch shape is priced once and remembered by number; an arch is then a list of numbers, and a
batch is summed in one go.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from latency.table.row import TableRow
from latency.table.unit import BlockContext, BlockKey, context_of, label_of
from nuwa.arch import Arch, BlockSpec
from nuwa.errors import NuwaError
from predictors.latency.stem_prices import StemPrices
from predictors.latency.unit_prices import Branch, GroupPrices, fit_groups, group_of, point_of

Array = npt.NDArray[np.float64]
_Shape = tuple[int, int, int] | int  # (num_heads, qk_dim, v_dim) of attention, or mlp_width


@dataclass(frozen=True)
class Encoded:
    """Sums over the branches of each arch of a batch; every array is (num_archs,), times in milliseconds.

    Args:
        work_attn: Work of the attention branches.
        work_mlp: Work of the MLP branches.
        launch_attn: Launches of the attention branches; 0 on devices that are fed in time.
        launch_mlp: Launches of the MLP branches.
        num_attn: Attention branches.
        num_mlp: MLP branches.
        num_whole: Blocks with both branches.
        stem: Net without blocks.
        additive: What a chain of each branch alone took, summed, and the stem: the pure block sum.
        variance: Summed variance of the branches' prices, ms².
    """

    work_attn: Array
    work_mlp: Array
    launch_attn: Array
    launch_mlp: Array
    num_attn: Array
    num_mlp: Array
    num_whole: Array
    stem: Array
    additive: Array
    variance: Array

    @property
    def work(self) -> Array:
        """Work of all branches."""
        return self.work_attn + self.work_mlp

    @property
    def launch(self) -> Array:
        """Launches of all branches."""
        return self.launch_attn + self.launch_mlp

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Encoded":
        """Pick archs of the batch."""
        return Encoded(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


class PriceList:
    """Prices of every branch and stem that a latency table speaks of, and sums over archs.

    Args:
        rows: Rows of one table.
        device_name: Named in the error for what the table lacks.
    """

    def __init__(self, rows: Sequence[TableRow], *, device_name: str) -> None:
        self.device_name = device_name
        self._groups = fit_groups(rows)
        self._stems = StemPrices(rows)
        self._numbers: dict[Branch, dict[BlockContext, dict[_Shape, int]]] = {"attn": {}, "mlp": {}}
        self._prices: dict[Branch, Array] = {"attn": np.zeros((0, 4)), "mlp": np.zeros((0, 4))}
        self._contexts: dict[tuple[object, ...], BlockContext] = {}

    def group(self, branch: Branch, context: BlockContext) -> GroupPrices:
        """Find the prices of a branch in a context.

        Raises:
            NuwaError: If the table has no row of that kind at all.
        """
        found = self._groups.get(group_of(branch, context))
        if found is None:
            block = BlockSpec(1, 8, 8, 0) if branch == "attn" else BlockSpec(0, 0, 0, 8)
            raise NuwaError(
                f"the latency table of {self.device_name} has no row like: {label_of(BlockKey(block, context))}",
                hint=f"nuwa profile {self.device_name}",
            )
        return found

    def encode(self, archs: Sequence[Arch]) -> Encoded:
        """Sum prices over each arch.

        Raises:
            NuwaError: If the table lacks a kind of row; names it and the command that measures it.
        """
        contexts = [self._context(arch) for arch in archs]
        attn, num_attn, mlp, num_mlp, num_whole = self._branches(archs, contexts)
        sums_attn = _sums(self._prices["attn"], attn, num_attn)
        sums_mlp = _sums(self._prices["mlp"], mlp, num_mlp)
        stem = self._stems.price(archs, device_name=self.device_name)
        return Encoded(
            work_attn=sums_attn[:, 0],
            work_mlp=sums_mlp[:, 0],
            launch_attn=sums_attn[:, 1],
            launch_mlp=sums_mlp[:, 1],
            num_attn=np.array(num_attn, dtype=np.float64),
            num_mlp=np.array(num_mlp, dtype=np.float64),
            num_whole=np.array(num_whole, dtype=np.float64),
            stem=stem,
            additive=sums_attn[:, 3] + sums_mlp[:, 3] + stem,
            variance=sums_attn[:, 2] + sums_mlp[:, 2],
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
        )
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = context_of(arch)
        return found

    def _branches(
        self, archs: Sequence[Arch], contexts: Sequence[BlockContext]
    ) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
        """List the numbers of all branches of a batch, pricing those not met before."""
        for attempt in range(2):
            attn: list[int] = []
            mlp: list[int] = []
            num_attn: list[int] = []
            num_mlp: list[int] = []
            num_whole: list[int] = []
            try:
                for arch, context in zip(archs, contexts, strict=True):
                    attn_of = self._numbers["attn"][context]
                    mlp_of = self._numbers["mlp"][context]
                    before_attn, before_mlp, whole = len(attn), len(mlp), 0
                    for block in arch.blocks:
                        heads, width = block.num_heads, block.mlp_width
                        if heads:
                            attn.append(attn_of[heads, block.qk_dim, block.v_dim])
                            if width:
                                whole += 1
                        if width:
                            mlp.append(mlp_of[width])
                    num_attn.append(len(attn) - before_attn)
                    num_mlp.append(len(mlp) - before_mlp)
                    num_whole.append(whole)
            except KeyError:
                if attempt:
                    raise
                self._meet(archs, contexts)
            else:
                break
        return attn, num_attn, mlp, num_mlp, num_whole

    def _meet(self, archs: Sequence[Arch], contexts: Sequence[BlockContext]) -> None:
        """Price every branch of the batch that has no number yet."""
        wanted: dict[tuple[Branch, BlockContext], dict[_Shape, BlockSpec]] = {}
        for arch, context in zip(archs, contexts, strict=True):
            for branch in ("attn", "mlp"):
                known = self._numbers[branch].setdefault(context, {})
                for block in arch.blocks:
                    if block.has_attn if branch == "attn" else block.has_mlp:
                        shape = _shape(branch, block)
                        if shape not in known:
                            wanted.setdefault((branch, context), {})[shape] = block
        self._price_by_group(wanted)

    def _price_by_group(self, wanted: dict[tuple[Branch, BlockContext], dict[_Shape, BlockSpec]]) -> None:
        for (branch, context), shapes in wanted.items():
            points = np.array([point_of(branch, block, context) for block in shapes.values()], dtype=np.float64)
            work, launch, sd = self.group(branch, context).price(points)
            first = len(self._prices[branch])
            self._prices[branch] = np.concatenate(
                [self._prices[branch], np.stack([work, launch, sd**2, np.maximum(work, launch)], axis=1)]
            )
            for offset, shape in enumerate(shapes):
                self._numbers[branch][context][shape] = first + offset


def _shape(branch: Branch, block: BlockSpec) -> _Shape:
    return (block.num_heads, block.qk_dim, block.v_dim) if branch == "attn" else block.mlp_width


def _sums(prices: Array, numbers: Sequence[int], counts: Sequence[int]) -> Array:
    """Sum rows of ``prices`` (n, 4) by arch: (num_archs, 4)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    picked = prices[np.asarray(numbers, dtype=np.intp)] if len(numbers) else np.zeros((0, 4))
    return np.stack([np.bincount(owner, picked[:, k], minlength=len(counts)) for k in range(4)], axis=1)


def contexts_of(archs: Iterable[Arch]) -> set[BlockContext]:
    """List the contexts that archs need rows in."""
    return {context_of(arch) for arch in archs}
