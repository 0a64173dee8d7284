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
        patches_ms: Median latency to its scores of patches, as boards are timed; None where images have classes.
    """

    bundle: Bundle
    study: str
    device: str
    patches_ms: float | None = None


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
