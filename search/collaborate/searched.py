"""What the searches of a decomposition found."""

from dataclasses import dataclass

from nuwa_search.deploy.bundle import Bundle


@dataclass(frozen=True)
class SearchedRival:
    """The single subnet that a search with the whole budget found.

    Args:
        bundle: Bundle of the subnet.
        study: Name of its search's study.
        device: Name of its device.
    """

    bundle: Bundle
    study: str
    device: str


@dataclass(frozen=True)
class Searched:
    """What the searches found.

    Args:
        parts: Bundle of each sub-model.
        studies: Name of each sub-model's study.
        rival: The single subnet.
    """

    parts: tuple[Bundle, ...]
    studies: tuple[str, ...]
    rival: SearchedRival
