"""A TensorRT engine as a session, so that it is verified like any other runtime."""

import torch

from nuwa_search.core.runtime import FloatArray, Images
from nuwa_search.deploy.runtimes.model_file import require_batch
from nuwa_search.deploy.tensorrt.engine_runner import EngineRunner


class EngineSession:
    """One engine with input ``images`` and output ``logits``.

    Args:
        runner: What drives the engine.
        input_shape: Shape (B, in_chans, H, W) that the engine was built for.
        dtype: ``float32``, or ``uint8`` where normalisation is inside the graph.
    """

    def __init__(self, runner: EngineRunner, *, input_shape: tuple[int, int, int, int], dtype: str = "float32") -> None:
        self._runner = runner
        self._shape = input_shape
        self._dtype = dtype

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits.

        Raises:
            NuwaError: If shape or type of ``images`` are not the engine's, or TensorRT is missing.
            OutsideError: If the GPU failed.
        """
        require_batch(images, shape=self._shape, dtype=self._dtype)
        logits: FloatArray = self._runner.run({"images": torch.from_numpy(images)})["logits"].float().numpy()
        return logits
