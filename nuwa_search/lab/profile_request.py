"""What a profile is asked for."""

from dataclasses import dataclass

from nuwa_search.core.source_name import DEMO_BASE


@dataclass(frozen=True)
class ProfileRequest:
    """How a device comes to its latency predictor.

    Args:
        base: Whose subnets are predicted: name or folder.
        img_size: Side of the base's images in pixels; None for its own.
        img_sizes: Further image sizes at which subnets are to be predicted; None for none.
        minutes: Measure for this long at most; for a board over SSH also: measure a table of its own.
        from_: Device whose predictor is transferred, with at most ten measurements; None for a table of its own.
        import_: Folder of a kit whose script has run on the board; None measures here.
        seed: Of what is measured.
    """

    base: str = DEMO_BASE
    img_size: int | None = None
    img_sizes: tuple[int, ...] | None = None
    minutes: float | None = None
    from_: str | None = None
    import_: str | None = None
    seed: int = 0
