"""A model loaded into a runtime of this machine, as what a device compiled."""

import hashlib
from dataclasses import dataclass

from nuwa_search.core.runtime import FloatArray, Images, Session


@dataclass(frozen=True)
class CompiledSession:
    """A session with the name of its runtime and the hash of the file it was made of."""

    session: Session
    runtime: str
    artifact_sha256: str

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.session.input_shape

    def run(self, images: Images) -> FloatArray:
        """Run one batch: (B, num_classes) float32 logits."""
        return self.session.run(images)


def compiled_session(session: Session, content: bytes, *, runtime: str) -> CompiledSession:
    """Wrap the session that was loaded from ``content``."""
    return CompiledSession(session, runtime, hashlib.sha256(content).hexdigest())
