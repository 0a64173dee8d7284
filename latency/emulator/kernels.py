"""Kernels as values: what the engine launches, sized, before anything is timed."""

from dataclasses import dataclass
from typing import Literal

KernelKind = Literal[
    "conv",
    "grouped_conv",
    "depthwise_conv",
    "matmul",
    "attention",
    "norm",
    "pointwise",
    "reduce",
    "softmax",
    "pool",
    "shuffle",
    "copy",
]

KernelGroup = Literal["convolutions", "depthwise", "products", "streams"]
KERNEL_GROUPS: tuple[KernelGroup, ...] = ("convolutions", "depthwise", "products", "streams")
"""Kernels that stand or fall together: one is no evidence for another."""

_GROUPS: dict[str, KernelGroup] = {
    "conv": "convolutions",
    "grouped_conv": "convolutions",
    "depthwise_conv": "depthwise",
    "matmul": "products",
    "attention": "products",
    "softmax": "products",
}


def kernel_group(kind: str) -> KernelGroup:
    """Return the group of a kernel's class; all kernels that only move memory are one group."""
    return _GROUPS.get(kind, "streams")


@dataclass(frozen=True)
class ConvWork:
    """A convolution with what was fused into it; sizes in elements, pixels of the output.

    Args:
        batch: Images.
        in_channels: Input channels, all groups together.
        out_channels: Output channels, all groups together.
        groups: Groups.
        height: Output rows.
        width: Output columns.
        kernel_height: Filter rows.
        kernel_width: Filter columns.
        unit_stride: Whether stride and dilation are 1 (a Winograd form exists for 3×3 then).
        reads: Activations read, a fused residual included.
        writes: Activations written.
        is_int8: Whether it multiplies 8-bit integers.
        int8_moved: Elements of ``reads`` and ``writes`` that lie in memory as 8-bit integers.
    """

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    unit_stride: bool
    reads: int
    writes: int
    is_int8: bool = False
    int8_moved: int = 0

    @property
    def taps(self) -> int:
        """Count filter positions."""
        return self.kernel_height * self.kernel_width

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.in_channels

    @property
    def macs(self) -> int:
        """Count multiply-accumulates."""
        pixels = self.batch * self.height * self.width
        return pixels * self.out_channels * self.taps * self.in_channels // self.groups

    @property
    def num_weights(self) -> int:
        return self.out_channels * self.taps * self.in_channels // self.groups


@dataclass(frozen=True)
class MatmulWork:
    """``batch`` products (m, k) × (k, n); ``num_weights`` elements of the operands are constant."""

    batch: int
    m: int
    n: int
    k: int
    num_weights: int
    reads: int
    writes: int
    is_int8: bool = False
    int8_moved: int = 0

    @property
    def macs(self) -> int:
        """Count multiply-accumulates."""
        return self.batch * self.m * self.n * self.k


@dataclass(frozen=True)
class AttentionWork:
    """Fused attention: softmax(QKᵀ)·V whose scores never leave the multiprocessor.

    Args:
        batch: Heads of all images.
        queries: Tokens that ask.
        keys: Tokens that answer.
        qk_dim: Width of a query or key.
        v_dim: Width of a value.
        reads: Queries, keys, values and masks.
        writes: The answer.
        int8_moved: Elements of ``reads`` and ``writes`` that lie in memory as 8-bit integers.
    """

    batch: int
    queries: int
    keys: int
    qk_dim: int
    v_dim: int
    reads: int
    writes: int
    int8_moved: int = 0

    @property
    def num_scores(self) -> int:
        return self.batch * self.queries * self.keys

    @property
    def macs(self) -> int:
        """Count multiply-accumulates."""
        return self.num_scores * (self.qk_dim + self.v_dim)


@dataclass(frozen=True)
class StreamWork:
    """A kernel that reads and writes memory: elements moved, and scalar instructions issued in all."""

    reads: int
    writes: int
    instructions: int
    int8_moved: int = 0


Work = ConvWork | MatmulWork | AttentionWork | StreamWork


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Args:
        name: The operators in it, joined by `` + ``.
        kind: Its class.
        work: Its size.
    """

    name: str
    kind: KernelKind
    work: Work
