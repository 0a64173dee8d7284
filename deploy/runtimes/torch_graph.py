"""A graph of ONNX operators run by torch in one type, on any of its devices: what `cuda` times."""

import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import require_batch, static_input_shape
from nuwa_search.deploy.runtimes.torch_ops import OPS

_INPUTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)


class TorchGraph:
    """One model with its constants on a device; a session, and a function of tensors that can be captured.

    Args:
        model: With static shapes.
        dtype: Of every floating-point tensor.
        device: torch device that computes.

    Raises:
        NuwaError: If the model holds an operator that exported ViTs do not, or dynamic shapes.
    """

    def __init__(self, model: onnx.ModelProto, *, dtype: torch.dtype, device: str) -> None:
        unknown = sorted({n.op_type for n in model.graph.node} - OPS.keys())
        if unknown:
            raise NuwaError(f"device {device} has no operator {', '.join(unknown)}", hint="measure it on --device host")
        self._dtype, self._device, self._graph = dtype, device, model.graph
        image = _only_input(model.graph, device=device)
        self._input_name = image.name
        kind = image.type.tensor_type
        self._is_uint8 = kind.elem_type == TensorProto.UINT8
        self._shape = static_input_shape([d.dim_value for d in kind.shape.dim], name=image.name)
        self._constants = {t.name: self._constant(t) for t in model.graph.initializer}
        self._attrs = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in model.graph.node]

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    def on_device(self, images: Images) -> Tensor:
        """Copy network input to the device, in the graph's type."""
        pixels = torch.from_numpy(images).to(self._device)
        return pixels.to(self._dtype) if pixels.is_floating_point() else pixels

    def forward(self, pixels: Tensor) -> Tensor:
        """Run the graph on a tensor that is there already; returns the first output in the graph's type."""
        values = {**self._constants, self._input_name: pixels}
        for node, options in zip(self._graph.node, self._attrs, strict=True):
            try:
                out = OPS[node.op_type]([values[name] for name in node.input], options)
                values.update(zip(node.output, [out] if isinstance(out, Tensor) else out, strict=True))
            except (torch.OutOfMemoryError, torch.AcceleratorError):
                raise  # of the device, not of the graph
            except (LookupError, TypeError, ValueError, RuntimeError) as error:
                raise NuwaError(
                    f"device {self._device} cannot run {node.op_type} {node.name!r} as this graph writes it: {error}",
                    hint="measure it on --device host",
                ) from error
        return values[self._graph.output[0].name]

    @torch.inference_mode()
    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits."""
        require_batch(images, shape=self._shape, dtype="uint8" if self._is_uint8 else "float32")
        logits: FloatArray = self.forward(self.on_device(images)).float().cpu().numpy()
        return logits

    def _constant(self, tensor: onnx.TensorProto) -> Tensor:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        # Shapes and axes stay on the CPU, where torch wants them.
        return value.to(self._device, self._dtype) if value.is_floating_point() else value


def _only_input(graph: onnx.GraphProto, *, device: str) -> onnx.ValueInfoProto:
    """Return the images that go in.

    Raises:
        NuwaError: If nothing or more goes in, or numbers that are neither floats nor bytes.
    """
    constants = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in constants]
    if len(given) != 1:
        names = ", ".join(value.name for value in given[:6])
        raise NuwaError(
            f"the model has {len(given)} inputs ({names}), and device {device} times graphs of one, of images",
            hint="measure it on --device host, which feeds any number of inputs",
        )
    kind = given[0].type.tensor_type.elem_type
    if kind not in _INPUTS:
        name = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else str(kind)
        raise NuwaError(
            f"input {given[0].name!r} of the model is {name}, and device {device} takes "
            f"{', '.join(TensorProto.DataType.Name(known) for known in _INPUTS)}",
            hint="export it with FLOAT input, or measure it on --device host",
        )
    return given[0]
