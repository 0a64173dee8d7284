"""What building and running a model takes of a board's memory, against what the board has free.

On these boards CPU and GPU share one memory, so the system, the CUDA context, the parsed model, the builder's copy of
its weights and the engine all come out of the same figure.
"""

from dataclasses import dataclass

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.peak_memory import BYTES_PER_MB

SYSTEM_MB = 4096 - 3964 + 717
"""What a module keeps back and Linux takes before any program: a Jetson Nano shows ``RAM 717/3964MB`` at rest
(tegrastats in github.com/evanmayer/effex issue 12). Larger modules keep back more, so there this is lenient."""
PARSED_COPIES = 2
"""FP32 copies of the weights beside the engine while it is built: the parsed model, and the builder's network."""
_FP32_BYTES = 4


@dataclass(frozen=True)
class BoardNeed:
    """Memory in MiB, by what takes it.

    Args:
        engine_mb: Weights in the engine's precision, and activations.
        context_mb: CUDA, cuBLAS and cuDNN.
        build_mb: What only the build takes.
    """

    engine_mb: float
    context_mb: float
    build_mb: float

    @property
    def total_mb(self) -> float:
        """All of it at once, which is when the engine is built."""
        return self.engine_mb + self.context_mb + self.build_mb


def board_need(num_weights: int, *, activations: int, element_bytes: int, context_mb: float) -> BoardNeed:
    """Add up what a model takes.

    Args:
        num_weights: Elements of all its constants.
        activations: Elements alive at once.
        element_bytes: Of one element in the engine.
        context_mb: Of the board's CUDA context in MiB.
    """
    return BoardNeed(
        engine_mb=(num_weights + activations) * element_bytes / BYTES_PER_MB,
        context_mb=context_mb,
        build_mb=PARSED_COPIES * num_weights * _FP32_BYTES / BYTES_PER_MB,
    )


def check_room(need: BoardNeed, *, name: str, memory_mb: float) -> None:
    """Refuse a model that a board has no room for.

    Args:
        need: What it takes.
        name: Of the board.
        memory_mb: Of the whole module in MiB.

    Raises:
        NuwaError: If there is no room; the message lists what takes how much.
    """
    free_mb = memory_mb - SYSTEM_MB
    if need.total_mb <= free_mb:
        return
    raise NuwaError(
        f"the model needs about {need.total_mb:.0f} MB on {name} (engine {need.engine_mb:.0f}, CUDA context "
        f"{need.context_mb:.0f}, building it {need.build_mb:.0f}), which has {free_mb:.0f} of {memory_mb:.0f} MB free",
        hint="use a smaller model, batch or image; an engine cannot be built elsewhere and carried there",
    )
