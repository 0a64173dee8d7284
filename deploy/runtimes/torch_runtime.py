"""Torch as a runtime for exported graphs: node by node, with the rounding of another precision if wanted."""

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import (
    constant_values,
    parse_model,
    read_model_bytes,
    require_batch,
    static_input_shape,
)
from nuwa_search.deploy.runtimes.torch_ops import OPS, only_input, output_of, run_node


@dataclass(frozen=True)
class TorchRuntime:
    """Runs the graph as written: no node is fused, moved or computed in another order.

    Args:
        rounding: With ``float16`` every constant and the output of every node is rounded to FP16, while
            each node computes in FP32 inside. That is what a board does that keeps all tensors in FP16
            and accumulates products in FP32; ONNX Runtime's CPU provider computes FP16 graphs in FP32
            between inserted casts and hides overflows.
        device: torch device that computes.
    """

    rounding: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def name(self) -> str:
        return "torch"

    @property
    def version(self) -> str:
        return str(torch.__version__)

    def load(self, model: bytes | Path) -> "TorchSession":
        origin = str(model) if isinstance(model, Path) else "the ONNX model"
        return TorchSession(parse_model(read_model_bytes(model), origin=origin), self)


class TorchSession:
    """One model, its constants as tensors.

    Raises:
        NuwaError: If the model holds an operator that exported ViTs do not, or dynamic shapes.
    """

    def __init__(self, model: onnx.ModelProto, runtime: TorchRuntime) -> None:
        unknown = sorted({n.op_type for n in model.graph.node} - OPS.keys())
        if unknown:
            raise NuwaError(
                f"the torch runtime has no operator {', '.join(unknown)}", hint="run this model on ONNX Runtime"
            )
        self._runtime = runtime
        self._graph = model.graph
        image = only_input(model.graph, where="the torch runtime")
        kind = image.type.tensor_type
        self._dtype = "uint8" if kind.elem_type == TensorProto.UINT8 else "float32"
        self._input_name = image.name
        self._shape = static_input_shape([d.dim_value for d in kind.shape.dim], name=image.name)
        self._attrs = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in model.graph.node]
        self._constants = {t.name: self._constant(t) for t in model.graph.initializer}

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    @torch.inference_mode()
    def run(self, images: Images) -> FloatArray:
        require_batch(images, shape=self._shape, dtype=self._dtype)
        values = dict(self._constants)
        values[self._input_name] = torch.from_numpy(images).to(self._runtime.device)
        for node, attrs in zip(self._graph.node, self._attrs, strict=True):
            run_node(node, values, attrs, where="the torch runtime")
            for name in node.output:
                values[name] = self._rounded(values[name])
        logits: FloatArray = output_of(self._graph, values, where="the torch runtime").float().cpu().numpy()
        return logits

    def _constant(self, tensor: onnx.TensorProto) -> Tensor:
        value = torch.from_numpy(constant_values(tensor)).to(self._runtime.device)
        return self._rounded(value) if value.is_floating_point() else value

    def _rounded(self, value: Tensor) -> Tensor:
        """Round to the runtime's precision, and hold the result in FP32 for the next node."""
        if not value.is_floating_point():
            return value
        return value.to(self._runtime.rounding).float()
