"""Times of single branches, from the rows of a latency table.

A branch has two times: the work it is for the device, and the launches it is for the program that
feeds the device. Rows in busy company show the work; rows alone show whichever is larger. On
devices that are fed in time (a CPU, a GPU with graphs) no row is busy, and there is work only.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import BlockSpec
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockContext, StemKey
from nuwa_search.predictors.latency.features import attn_work, log_coordinates, mlp_work
from nuwa_search.predictors.latency.interpolate import Surface, fit_surface

Array = npt.NDArray[np.float64]
Branch = Literal["attn", "mlp"]

# A row whose two companies differ by more standard errors than this is bound by launches.
LAUNCH_BOUND_SIGMAS = 3.0
# Nor is a difference below this share of the row believed: chains differ a little whatever binds them.
_SUSPECT_SHARE = 0.05


JOINED = 0
"""Number of tokens of a group whose rows have several: the number is then a coordinate like a width."""


@dataclass(frozen=True)
class GroupKey:
    """Rows that are interpolated together: one kind of branch in contexts that differ in width only.

    Where a table was filled for several image sizes they differ in tokens too; ``num_tokens`` is then ``JOINED``.
    """

    branch: Branch
    num_tokens: int
    norm: str
    act: str
    qkv_bias: bool
    rope_dim: int = 0


def group_of(branch: Branch, context: BlockContext, joined: Collection[int] = ()) -> GroupKey:
    """Name the group of a branch in a context; the activation is no part of attention, nor biases or turns of MLPs.

    Args:
        branch: Attention or MLP.
        context: Where it stands.
        joined: Numbers of tokens whose rows are interpolated together; any number between them is in their group.
    """
    num_tokens = JOINED if is_joined(context.num_tokens, joined) else context.num_tokens
    if branch == "attn":
        return GroupKey(branch, num_tokens, context.norm, "", context.qkv_bias, context.rope_dim)
    return GroupKey(branch, num_tokens, context.norm, context.act, False)


def is_joined(num_tokens: int, joined: Collection[int]) -> bool:
    """Whether a number of tokens is among, or between, those that are interpolated together."""
    return len(joined) > 1 and min(joined) <= num_tokens <= max(joined)


def point_of(
    branch: Branch, block: BlockSpec, context: BlockContext, joined: Collection[int] = ()
) -> tuple[float, ...]:
    """Place a branch: (embed_dim, num_heads, qk_dim, v_dim) or (embed_dim, mlp_width), then tokens where joined.

    Args:
        branch: Attention or MLP.
        block: Shape of the block.
        context: Embedding width, tokens and norm around the block.
        joined: Numbers of tokens whose rows are interpolated together; empty for none.
    """
    tokens = (context.num_tokens,) if is_joined(context.num_tokens, joined) else ()
    if branch == "attn":
        return context.embed_dim, block.num_heads, block.qk_dim, block.v_dim, *tokens
    return context.embed_dim, block.mlp_width, *tokens


@dataclass(frozen=True)
class GroupTimes:
    """Fitted times of one group.

    Args:
        work: Milliseconds that the device works.
        launch: Milliseconds that launching takes; None where no row was bound by launches.
        launch_limit: No launch of this group takes longer, in milliseconds.
        num_rows: Rows behind it.
    """

    work: Surface
    launch: Surface | None
    launch_limit: float
    num_rows: int

    def predict(self, points: Array) -> tuple[Array, Array, Array]:
        """Predict points (n, k).

        Returns:
            Work (n,), launches (n,) and the standard error of the work (n,), all in milliseconds.
        """
        work, sd = self.work.predict(points)
        if self.launch is None:
            return work, np.full(len(points), self.launch_limit), sd
        launch, _ = self.launch.predict(points)
        return work, launch, sd


def fit_groups(rows: Iterable[TableRow], joined: Collection[int] = ()) -> dict[GroupKey, GroupTimes]:
    """Fit the times of every group that has rows.

    Args:
        rows: Rows of one table; those of whole blocks and stems are left to others, and those between the joined
            numbers of tokens, of another base, are left out.
        joined: As of ``group_of``.
    """
    by_group: dict[GroupKey, dict[tuple[float, ...], dict[str, TableRow]]] = {}
    for row in rows:
        if isinstance(row.key, StemKey) or row.key.kind == "block" or row.latency_ms <= 0:
            continue
        branch: Branch = "attn" if row.key.kind == "attn" else "mlp"
        if is_joined(row.key.context.num_tokens, joined) and row.key.context.num_tokens not in joined:
            continue
        group = by_group.setdefault(group_of(branch, row.key.context, joined), {})
        group.setdefault(point_of(branch, row.key.block, row.key.context, joined), {})[row.key.company] = row
    return {key: _fit_group(key, members) for key, members in by_group.items()}


def _fit_group(key: GroupKey, members: dict[tuple[float, ...], dict[str, TableRow]]) -> GroupTimes:
    has_busy = any("busy" in rows for rows in members.values())
    work: list[tuple[tuple[float, ...], float, float]] = []
    launch: list[tuple[tuple[float, ...], float, float]] = []
    for point, rows in members.items():
        alone, busy = rows.get("alone"), rows.get("busy")
        if busy is not None:
            work.append((point, busy.latency_ms, busy.sd_ms))
        if alone is None:
            continue
        if busy is None:
            if not has_busy:
                work.append((point, alone.latency_ms, alone.sd_ms))
            continue
        gap = alone.latency_ms - busy.latency_ms
        if gap > LAUNCH_BOUND_SIGMAS * float(np.hypot(alone.sd_ms, busy.sd_ms)) + _SUSPECT_SHARE * alone.latency_ms:
            launch.append((point, alone.latency_ms, alone.sd_ms))
        elif gap < _SUSPECT_SHARE * alone.latency_ms:
            work[-1] = _average(point, alone, busy)
    work_of = attn_work if key.branch == "attn" else mlp_work
    features: Callable[[Array], Array] = partial(work_of, num_tokens=key.num_tokens)
    coordinates: Callable[[Array], Array] = log_coordinates
    counts: Callable[[Array], Array] = _launch_counts
    if key.num_tokens == JOINED:
        features, coordinates, counts = partial(_joined_work, work_of), _joined_coordinates, _joined_counts
    limit = min((rows["alone"].latency_ms for rows in members.values() if "alone" in rows), default=0.0)
    return GroupTimes(
        work=_surface(work, features, coordinates),
        launch=_surface(launch, counts, coordinates) if launch else None,
        launch_limit=limit if has_busy else 0.0,
        num_rows=len(members),
    )


def _average(point: tuple[float, ...], alone: TableRow, busy: TableRow) -> tuple[tuple[float, ...], float, float]:
    """Weigh two measurements of the same work by their errors."""
    first, second = max(alone.sd_ms, 1e-9) ** -2, max(busy.sd_ms, 1e-9) ** -2
    value = (first * alone.latency_ms + second * busy.latency_ms) / (first + second)
    return point, value, float((first + second) ** -0.5)


def _surface(
    found: Sequence[tuple[tuple[float, ...], float, float]],
    features: Callable[[Array], Array],
    coordinates: Callable[[Array], Array],
) -> Surface:
    points = np.array([point for point, _, _ in found], dtype=np.float64)
    values = np.array([value for _, value, _ in found])
    sds = np.array([sd for _, _, sd in found])
    return fit_surface(points, values, sds, features=features, coordinates=coordinates)


def _joined_work(work_of: Callable[..., Array], points: Array) -> Array:
    return work_of(points[:, :-1], num_tokens=points[:, -1])


def _joined_coordinates(points: Array) -> Array:
    return np.concatenate([log_coordinates(points[:, :-1]), np.log2(points[:, -1:])], axis=1)


def _joined_counts(points: Array) -> Array:
    return _launch_counts(points[:, :-1])


def _launch_counts(points: Array) -> Array:
    """Launches follow the structure: a constant, and for attention whether there is more than one head."""
    constant = np.ones(len(points))
    if points.shape[1] != 4:
        return constant[:, None]
    return np.stack([constant, np.asarray(points[:, 1] > 1, dtype=np.float64)], axis=1)
