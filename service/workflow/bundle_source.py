"""Which base and images a bundle came from, where the user names none."""

from dataclasses import dataclass

from nuwa_search.core.source_name import PACKAGED_BASE
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
    """Return what is named, else what the bundle's facts name, else what ships in the package."""
    facts = bundle.facts
    known_base, known_data = facts.base, facts.data
    chosen = base or known_base or PACKAGED_BASE
    if data is None and known_data is not None and chosen == (known_base or chosen):
        return Source(chosen, known_data, label_column or facts.label_column)
    return Source(chosen, data, label_column)
