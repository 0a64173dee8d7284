"""The searches that are timed: two tasks on the real base, one on the small one."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.pooling import HeadPool
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE

CLASS_TOKEN: HeadPool = "token"
"""What a fitted head reads where one head is to serve both builds."""
DEVICE = "jetson-nano"
"""Emulated; the default."""
VEHICLES = ("bicycle", "bus", "motorcycle", "pickup_truck", "train")


@dataclass(frozen=True)
class Job:
    """One search, as a user starts it.

    Args:
        base: Its name.
        data: Name, or a path below the folder of shared data.
        budget_ms: On the emulated Jetson Nano.
        classes: None for all.
    """

    base: str
    data: str
    budget_ms: float
    classes: tuple[str, ...] | None = None

    def data_in(self, shared: Path) -> str:
        """Name the images so that they can be opened."""
        return self.data if self.data == DEMO_DATA else str(shared / self.data)


JOBS = {
    "textiles": Job(DEMO_BASE, DEMO_DATA, 30.0),
    "tiles": Job(DEMO_BASE, "magnetic_tile/by_class", 30.0),
    "small": Job(PACKAGED_BASE, "cifar100", 5.5, VEHICLES),
}
