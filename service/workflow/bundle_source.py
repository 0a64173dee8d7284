"""Which base and images a bundle came from, where the user names none."""

from deploy.bundle import Bundle
from nuwa.base import DEFAULT_BASE
from service.workflow.sources import SAMPLE_NAME


def source_of(bundle: Bundle, *, base: str | None, data: str | None) -> tuple[str, str | None]:
    """Return base and data: the named ones, else those that the bundle's facts name, else the package's.

    Returns:
        Data is None for the package's sample.
    """
    known_base, known_data = bundle.facts.get("base"), bundle.facts.get("data")
    chosen = str(base or known_base or DEFAULT_BASE)
    if data is None and known_data is not None and chosen == (known_base or chosen) and known_data != SAMPLE_NAME:
        return chosen, str(known_data)
    return chosen, data
