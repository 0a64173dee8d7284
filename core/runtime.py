"""Something that runs an ONNX model, as seen by whoever verifies or times one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

FloatArray = npt.NDArray[np.float32]
Images = npt.NDArray[Any]
"""Network input (B, in_chans, H, W): float32, or uint8 where normalisation is inside the graph."""


class Session(Protocol):
    """One loaded model with static shapes.

    Threads: one at a time, unless its class says more. Ownership: images are the caller's and are not changed; logits
    are the caller's too, and another run leaves them alone.
    """

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape (B, in_chans, H, W) that ``run`` takes."""
        ...

    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits.

        Raises:
            NuwaError: If shape or type of ``images`` are not the model's.
        """
        ...


class CompiledModel(Session, Protocol):
    """A model as a device compiled it: what was timed there is what runs here."""

    @property
    def runtime(self) -> str:
        """Name and version of what runs it, such as ``tensorrt 8.2.1``."""
        ...

    @property
    def artifact_sha256(self) -> str:
        """Identify the compiled file: 64 hex digits of its SHA-256."""
        ...


@runtime_checkable
class RunsModels(Protocol):
    """A device that also gives the outputs of what it measures; emulated ones cannot."""

    def compiled(self, model: "onnx.ModelProto") -> CompiledModel:
        """Compile ``model`` as for measuring, or find what was compiled before.

        Raises:
            NuwaError: If the runtime cannot take the model.
            OutsideError: If the device failed.
        """
        ...


@runtime_checkable
class KeepsEngines(RunsModels, Protocol):
    """A device that compiles for minutes and keeps what it compiled, also when this program ends."""

    def has_engine(self, model: "onnx.ModelProto") -> bool:
        """Whether ``model`` needs no compiling any more."""
        ...

    def forget(self, model: "onnx.ModelProto") -> None:
        """Delete what was compiled of ``model``, once what it was compiled for is stored."""
        ...

    def forget_all(self) -> None:
        """Delete everything that was kept, when nothing is left to be measured."""
        ...


class Runtime(Protocol):
    """Loads models; holds the options that change speed or arithmetic.

    Threads: any. Ownership: sessions stand by themselves, and are freed with the last reference. Guarantees:
    ``nuwa_search.testing.runtime``; reading ``name`` and ``version`` loads no model.
    """

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
