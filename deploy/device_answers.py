"""Logits that a device gave for single images, kept until all are there: a board takes seconds for each."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nuwa_search.core import checked
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.runtime import FloatArray, Images


@dataclass
class DeviceAnswers:
    """Answers of one compiled model, one line of JSON each, in a file that can be cut at any byte.

    Args:
        path: The file; made with the first answer.
        artifact_sha256: Of the compiled model: answers of another build are never mixed in.
    """

    path: Path
    artifact_sha256: str
    _known: dict[str, FloatArray] = field(default_factory=dict)

    def load(self) -> int:
        """Read what an earlier run left; returns the number of its answers that count."""
        self._known = dict(self._read())
        return len(self._known)

    def get(self, image: Images) -> FloatArray | None:
        """Return the logits (num_classes,) of one network input (in_chans, H, W); None where they are not known."""
        return self._known.get(_key(image))

    def put(self, image: Images, logits: FloatArray) -> None:
        """Keep the logits of one network input.

        Raises:
            OutsideError: If the file cannot be written.
        """
        key = _key(image)
        self._known[key] = logits
        values = [float(v) if np.isfinite(v) else None for v in logits]
        line = json.dumps({"artifact": self.artifact_sha256, "image": key, "logits": values})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # a line that was cut before must not swallow this one
        except OSError as error:
            raise OutsideError(f"{self.path} cannot be written: {error.strerror}", hint="free disk space") from error

    def clear(self) -> None:
        """Delete the file, once all logits are in."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Iterator[tuple[str, FloatArray]]:
        if not self.path.is_file():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    found = checked.mapping(json_from_text(line, what="an answer"), "an answer")
                    if found.get("artifact") != self.artifact_sha256:
                        continue
                    numbers = checked.items(found.get("logits"), "logits", min_items=1)
                    logits = [np.nan if v is None else checked.finite(v, "a logit") for v in numbers]
                    yield checked.text(found.get("image"), "image"), np.array(logits, dtype=np.float32)
                except NuwaError:
                    continue  # cut by an interrupt: asked again


def _key(image: Images) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:32]
