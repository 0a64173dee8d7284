"""What programs in the field are told of a bundle's model."""

from dataclasses import dataclass

import onnx

from nuwa_search.core.device import Precision
from nuwa_search.core.images import Preprocess
from nuwa_search.deploy.export.graph import InputKind

RGB_CHANNELS = 3


@dataclass(frozen=True)
class FieldModel:
    """A bundle's exported model, with names, shapes and how its images are made.

    Args:
        graph: The ONNX model.
        labels: One name per output.
        preprocess: How images are made.
        input_kind: What the graph takes.
        precision: What its device computes in.
        none_below: Probability below which an image is none of the labels; None where none was calibrated.
        build_line: Arguments that build the engine on the device; None where no TensorRT is meant.
    """

    graph: onnx.ModelProto
    labels: tuple[str, ...]
    preprocess: Preprocess
    input_kind: InputKind
    precision: Precision
    none_below: float | None = None
    build_line: tuple[str, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input: (B, C, H, W)."""
        return tuple(dim.dim_value for dim in self.graph.graph.input[0].type.tensor_type.shape.dim)

    @property
    def batch(self) -> int:
        return self.shape[0]

    @property
    def is_rgb(self) -> bool:
        """Whether it takes colour images: the programs of a bundle know no others."""
        return self.shape[1] == RGB_CHANNELS
