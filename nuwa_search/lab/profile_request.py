"""What a profile is asked for."""

from dataclasses import dataclass

from nuwa_search.core.img_size import ImgSize, img_size_from_value
from nuwa_search.core.source_name import DEMO_BASE


@dataclass(frozen=True)
class ProfileRequest:
    """How a device comes to its latency predictor.

    Args:
        base: Whose subnets are predicted: name or folder.
        img_size: Of the base's images in pixels, a number or (height, width); None for its own.
        img_sizes: Further image sizes at which subnets are to be predicted; None for none.
        minutes: Measure for this long at most; for a board over SSH also: measure a table of its own.
        from_: Device whose predictor is transferred, with at most ten measurements; None for a table of its own.
        import_: Folder of a kit whose script has run on the board; None measures here.
        seed: Of what is measured.
    """

    base: str = DEMO_BASE
    img_size: ImgSize | None = None
    img_sizes: tuple[ImgSize, ...] | None = None
    minutes: float | None = None
    from_: str | None = None
    import_: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.img_size is not None:
            object.__setattr__(self, "img_size", img_size_from_value(self.img_size, "img_size"))
        if self.img_sizes is not None:
            sizes = tuple(img_size_from_value(size, "img_sizes") for size in self.img_sizes)
            object.__setattr__(self, "img_sizes", sizes)
