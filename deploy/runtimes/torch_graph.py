"""A graph of ONNX operators run by torch in one type, on any of its devices: what `cuda` times."""

import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import constant_values, require_batch, static_input_shape
from nuwa_search.deploy.runtimes.torch_ops import OPS, only_input, output_of, run_node


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
        image = only_input(model.graph, where=f"device {device}")
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
            run_node(node, values, options, where=f"device {self._device}")
        return output_of(self._graph, values, where=f"device {self._device}")

    @torch.inference_mode()
    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits."""
        require_batch(images, shape=self._shape, dtype="uint8" if self._is_uint8 else "float32")
        logits: FloatArray = self.forward(self.on_device(images)).float().cpu().numpy()
        return logits

    def _constant(self, tensor: onnx.TensorProto) -> Tensor:
        value = torch.from_numpy(constant_values(tensor))
        # Shapes and axes stay on the CPU, where torch wants them.
        return value.to(self._device, self._dtype) if value.is_floating_point() else value
