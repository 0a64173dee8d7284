"""What a collaboration says of one image, and who took part."""

from dataclasses import dataclass, field
from typing import Any

from nuwa_search.deploy.collaborate.npz import Floats


@dataclass(frozen=True)
class CollaborativeAnswer:
    """The answer to one image.

    Args:
        number: Number of the image in its stream, from 0.
        label: The likeliest of the labels; None where no board answered, or pixels have classes.
        class_index: Its place among the labels; None where there is none.
        score: Its probability; None where there is none.
        latency_ms: From when the image was first sent until it was fused, on the coordinator's clock.
        boards: Boards that took part.
        parts: Sub-models whose vectors were used.
        missing: Boards that were wanted and did not take part, each with ``away``, ``busy``, ``late``, ``lost`` or
            what it said of its failure.
        bytes_sent: Bytes of images, without headers.
        bytes_received: Bytes of vectors, or of patches' scores, without headers.
        scores: Logits (C, h, w) of the picture's patches where pixels have classes; None where they have none, or no
            board answered.
    """

    number: int
    label: str | None
    class_index: int | None
    score: float | None
    latency_ms: float
    boards: tuple[str, ...]
    parts: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    bytes_sent: int
    bytes_received: int
    scores: Floats | None = field(default=None, compare=False, repr=False)

    @property
    def is_answered(self) -> bool:
        return self.label is not None or self.scores is not None

    def to_json(self) -> dict[str, Any]:
        """Render the answer as one entry of ``nuwa.collaborate-run/1``."""
        return {
            "number": self.number,
            "label": self.label,
            "score": self.score,
            "latency_ms": self.latency_ms,
            "boards": list(self.boards),
            "parts": list(self.parts),
            "missing": dict(self.missing),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
        }
