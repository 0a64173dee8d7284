"""Where a study is kept and where it runs, and what it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.executor.local import LocalExecutor


@dataclass(frozen=True)
class StudyPlace:
    """The storage of a study, its name there, and where its subnets are scored.

    Args:
        study_name: Its name in the storage.
        storage_url: SQLAlchemy URL of the storage; None keeps the study in memory.
        identity: What a resumed study must agree on, beside space and objectives (base, task, device, …).
        executor: Where subnets are derived and scored.
    """

    study_name: str = "study"
    storage_url: str | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    executor: Executor = field(default_factory=LocalExecutor)
