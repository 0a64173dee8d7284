"""Something that runs an ONNX model, as seen by whoever verifies or times one."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Images = npt.NDArray[Any]
"""Network input (B, in_chans, S, S): float32, or uint8 where normalisation is inside the graph."""


class Session(Protocol):
    """One loaded model with static shapes."""

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape (B, in_chans, S, S) that ``run`` takes."""
        ...

    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits.

        Raises:
            NuwaError: If shape or type of ``images`` are not the model's.
        """
        ...


class Runtime(Protocol):
    """Loads models; holds the options that change speed or arithmetic."""

    @property
    def name(self) -> str:
        """Name as in ``DeviceSpec.runtime``."""
        ...

    @property
    def version(self) -> str:
        """Version of the library that computes."""
        ...

    def load(self, model: bytes | Path) -> Session:
        """Load a model with one input ``images`` and one output ``logits``.

        Raises:
            NuwaError: If the file is missing or damaged, or the model is not one that runs here.
        """
        ...
