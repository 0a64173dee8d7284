"""Where a study is kept, and what it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StudyPlace:
    """The storage of a study, and its name there.

    Args:
        study_name: Its name in the storage.
        storage_url: SQLAlchemy URL of the storage; None keeps the study in memory.
        identity: What a resumed study must agree on, beside space and objectives (base, task, device, …).
    """

    study_name: str = "study"
    storage_url: str | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
