"""Which base and images a bundle came from, where the user names none."""

from dataclasses import dataclass

from nuwa_search.core.base import Base, load_base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.source_name import PACKAGED_BASE
from nuwa_search.core.sources import open_task_again
from nuwa_search.core.task import Task
from nuwa_search.core.tasks.kind import kind_of
from nuwa_search.deploy.bundle import Bundle


@dataclass(frozen=True)
class Source:
    """Where a bundle's model and images come from.

    Args:
        base: Name or folder.
        data: Images; None for those that go with the base.
        label_column: Of Parquet files; None tries the usual ones.
    """

    base: str
    data: str | None
    label_column: str | None


def source_of(bundle: Bundle, *, base: str | None, data: str | None, label_column: str | None) -> Source:
    """Return the base and images that the user named, else those of the bundle's facts, else those of the package.

    Args:
        bundle: Its facts name the base and images it was cut with.
        base: Name or folder that the user gave; None if none.
        data: Images that the user gave; None if none.
        label_column: Label column of Parquet files; None takes the bundle's, or tries the usual ones.
    """
    facts = bundle.facts
    known_base, known_data = facts.base, facts.data
    chosen = base or known_base or PACKAGED_BASE
    if data is None and known_data is not None and chosen == (known_base or chosen):
        return Source(chosen, known_data, label_column or facts.label_column)
    return Source(chosen, data, label_column)


def open_bundle_task(bundle: Bundle, source: Source, *, seed: int) -> tuple[Base, Task]:
    """Open the base of a bundle and its task, as they were when it was cut.

    Args:
        bundle: Whose classes, metric and preprocessing they are.
        source: Where base and images lie.
        seed: Of a rule for splits that is used for old tasks only.

    Raises:
        NuwaError: If the base was made for other images, or the data lacks classes of the bundle.
    """
    base = load_base(source.base, img_size=bundle.preprocess.img_size).with_pipeline(bundle.preprocess.pipeline)
    base = base.for_task(kind_of(bundle.facts.metric))
    if base.preprocess != bundle.preprocess:
        raise NuwaError(
            f"base {source.base!r} takes other images than bundle {bundle.dir}", hint="name its base: --base"
        )
    task = open_task_again(
        base,
        task_id=bundle.facts.task_id,
        data=source.data,
        label_column=source.label_column,
        classes=bundle.labels,
        seed=seed,
        metric=bundle.facts.metric,
    )
    return base, task
