"""Reformat kernels: tensors copied between the layouts that neighbouring kernels want.

On Maxwell and Pascal, FP16 convolutions and pooling work on channels packed in pairs (TensorRT's kCHW2; the kernels
are called maxwell_fp16x2_...), while products, softmax, reductions and shuffles work on plain rows. TensorRT 8.2
copies a tensor wherever the two meet ("Reformatting CopyNode" in its profiles).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nuwa_search.latency.emulator.kernels import Kernel, StreamWork
from nuwa_search.latency.emulator.shapes import Shape

_PACKED = frozenset({"conv", "grouped_conv", "depthwise_conv", "pool"})
_PLAIN = frozenset({"matmul", "attention", "softmax", "reduce", "shuffle", "norm"})
# Loads, stores and address arithmetic of one element copied.
_COPY_INSTRUCTIONS = 4


@dataclass(frozen=True)
class Placed:
    """Kernels of one place in the order of execution.

    Args:
        index: Operator whose output they write last.
        kernels: One or more launches.
        reads: Tensors read.
        writes: Tensors written.
        is_pooling: Whether it reduces whole channels, which works on packed channels as it is.
    """

    index: int
    kernels: tuple[Kernel, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    is_pooling: bool = False


def with_reformats(
    placed: Sequence[Placed], shapes: Mapping[str, Shape], *, inputs: Collection[str] = ()
) -> Iterator[Kernel]:
    """Yield all kernels in order, with a copy before each that reads a tensor in another layout than it lies in.

    Args:
        placed: Kernels in order of execution.
        shapes: Shape of every tensor.
        inputs: Tensors that come in: their first reader converts them from FP32, into whatever layout.
    """
    packed: dict[str, bool] = {}
    both = set(inputs)
    for place in placed:
        wants = _wants_packed(place, packed, shapes)
        for name in place.reads:
            if _is_same_in_both(shapes[name]) or packed.get(name, False) == wants or name in both:
                continue
            both.add(name)
            size = _elements(shapes[name])
            work = StreamWork(reads=size, writes=size, instructions=_COPY_INSTRUCTIONS * size)
            yield Kernel(name=f"Reformatting CopyNode for {name}", kind="copy", work=work)
        packed.update(dict.fromkeys(place.writes, wants))
        yield from place.kernels


def _wants_packed(place: Placed, packed: Mapping[str, bool], shapes: Mapping[str, Shape]) -> bool:
    """Whether a place works on packed channels; element-wise kernels take the layout of their largest operand."""
    if place.is_pooling or any(k.kind in _PACKED for k in place.kernels):
        return True
    if any(k.kind in _PLAIN for k in place.kernels):
        return False
    largest = max(place.reads, key=lambda name: _elements(shapes[name]), default=None)
    return largest is not None and packed.get(largest, False)


def _is_same_in_both(shape: Shape) -> bool:
    """Return whether rows of one pixel, or no channels at all, make the two layouts one."""
    return len(shape) < 3 or _elements(shape[2:]) == 1


def _elements(shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
