"""Collect ONNX nodes and constants with little ceremony; `onnx.helper` would take most of an export's time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from nuwa_search.deploy.export.opsets import AXES_INPUT_OPSET

SMALL_ELEMENTS = 1024
"""Constants up to this size keep their values in graphs without weights: shapes and scalars are read from them."""


AttrValue = int | float | str | Sequence[int]
Array = npt.NDArray[np.float32] | npt.NDArray[np.int64]


class GraphWriter:
    """Append nodes in execution order; each method returns the name of the tensor it wrote.

    Args:
        graph: What is written to.
        opset: Of the default domain; some operators take other inputs in other opsets.
        dtype: ``float32`` or ``float16`` for every floating-point constant.
        has_weights: Whether large constants carry values, or only their shapes.
    """

    def __init__(
        self,
        graph: GraphProto,
        *,
        opset: int,
        dtype: type[np.float32] | type[np.float16] = np.float32,
        has_weights: bool = True,
    ) -> None:
        self.graph = graph
        self.opset = opset
        self.dtype = dtype
        self.has_weights = has_weights
        self._known: set[str] = set()

    @property
    def elem_type(self) -> int:
        """ONNX element type of the graph's floats."""
        return TensorProto.FLOAT16 if self.dtype is np.float16 else TensorProto.FLOAT

    def constant(self, name: str, values: Array) -> str:
        """Add an initializer; floats are written in the graph's type, integers as INT64."""
        tensor = self.graph.initializer.add()
        tensor.name = name
        tensor.dims.extend(values.shape)
        is_int = values.dtype == np.int64
        tensor.data_type = TensorProto.INT64 if is_int else self.elem_type
        if self.has_weights or values.size <= SMALL_ELEMENTS:
            tensor.raw_data = (values if is_int else values.astype(self.dtype, copy=False)).tobytes()
        return name

    def scalar(self, value: float) -> str:
        """Add a scalar constant once; later calls with the same value share it."""
        name = f"const_{value:.9g}"
        if name not in self._known:
            self._known.add(name)
            self.constant(name, np.asarray(value, dtype=np.float32))
        return name

    def ints(self, values: Sequence[int]) -> str:
        """Add a vector of integers once; later calls with the same values share it."""
        name = "ints_" + "_".join(map(str, values))
        if name not in self._known:
            self._known.add(name)
            self.constant(name, np.asarray(values, dtype=np.int64))
        return name

    def shared(self, name: str, values: Array) -> str:
        """Add a constant once; later calls with the same name share it."""
        if name not in self._known:
            self._known.add(name)
            self.constant(name, values)
        return name

    def ones(self, size: int) -> str:
        """Add a vector of ones once; later calls with the same size share it."""
        name = f"ones_{size}"
        if name not in self._known:
            self._known.add(name)
            self.constant(name, np.ones(size, dtype=np.float32))
        return name

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attrs: AttrValue) -> str:
        """Add a node with one output, which gets the node's name."""
        self._add(op_type, inputs, name, attrs).output.append(name)
        return name

    def split(self, x: str, sizes: Sequence[int], name: str, *, axis: int) -> list[str]:
        """Split a tensor along ``axis``.

        Args:
            x: Name of the tensor.
            sizes: Length of each part along ``axis``.
            name: Prefix of the outputs, which are numbered from 0.
            axis: Axis, from 0.

        Returns:
            Names of the parts.
        """
        node = self._add("Split", [x, self.ints(sizes)], name, {"axis": axis})
        names = [f"{name}.{i}" for i in range(len(sizes))]
        node.output.extend(names)
        return names

    def reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        """Reshape to a fixed shape."""
        return self.node("Reshape", [x, self.ints(shape)], name)

    def transpose(self, x: str, perm: Sequence[int], name: str) -> str:
        """Permute axes."""
        return self.node("Transpose", [x], name, perm=perm)

    def mean(self, x: str, axis: int, name: str, *, keepdims: bool) -> str:
        """Average over one axis.

        Args:
            x: Name of the tensor.
            axis: Axis; negative counts from the end.
            name: Name of the result.
            keepdims: Whether the axis stays, with length 1.
        """
        if self.opset >= AXES_INPUT_OPSET:
            return self.node("ReduceMean", [x, self.ints([axis])], name, keepdims=int(keepdims))
        return self.node("ReduceMean", [x], name, axes=[axis], keepdims=int(keepdims))

    def rows(self, x: str, start: int, stop: int, name: str, *, axis: int) -> str:
        """Take ``start`` to ``stop`` (exclusive) along ``axis``.

        Args:
            x: Name of the tensor.
            start: First index.
            stop: One past the last index.
            name: Name of the result.
            axis: Axis, from 0.
        """
        inputs = [x, self.ints([start]), self.ints([stop]), self.ints([axis])]
        return self.node("Slice", inputs, name)

    def linear(self, x: str, weight: Array, bias: Array, name: str) -> str:
        """Multiply (rows, in) with ``weight`` (out, in) transposed and add ``bias`` (out,), as one Gemm.

        Args:
            x: Name of the tensor (rows, in).
            weight: (out, in).
            bias: (out,).
            name: Name of the result (rows, out), and prefix of the constants.
        """
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Gemm", inputs, name, transB=1)

    def rename_output(self, name: str) -> None:
        """Call the output of the node written last ``name``; nothing may read it yet."""
        self.graph.node[-1].output[0] = name

    def _add(self, op_type: str, inputs: Sequence[str], name: str, attrs: dict[str, AttrValue]) -> NodeProto:
        node: NodeProto = self.graph.node.add()
        node.op_type = op_type
        node.name = name
        node.input.extend(inputs)
        for key, value in attrs.items():
            attribute = node.attribute.add()
            attribute.name = key
            if isinstance(value, int):
                attribute.type, attribute.i = AttributeProto.INT, value
            elif isinstance(value, float):
                attribute.type, attribute.f = AttributeProto.FLOAT, value
            elif isinstance(value, str):
                attribute.type, attribute.s = AttributeProto.STRING, value.encode()
            else:
                attribute.type = AttributeProto.INTS
                attribute.ints.extend(value)
        return node
