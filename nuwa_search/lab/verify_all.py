"""Which shipped bundles what a device runs now touches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nuwa_search.core.device import DeviceSpec
from nuwa_search.latency.touched_bundles import Touched, device_now, touched_below, touched_bundles
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class TouchedBundles:
    """The bundles that were certified for a device, beside what runs there now.

    Args:
        spec: The device.
        now: What it says of itself.
        rows: Each bundle with what is to be done: ``rebuild``, ``measure`` or nothing.
        silent: Boards of a pool that are out or did not answer, each with the reason.
    """

    spec: DeviceSpec
    now: Mapping[str, str]
    rows: tuple[Touched, ...]
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def stale(self) -> tuple[Touched, ...]:
        """Bundles whose engine has to be built again."""
        return tuple(row for row in self.rows if row.action == "rebuild")


def verify_all(store: Store, spec: DeviceSpec, *, below: Path | None) -> TouchedBundles:
    """Ask a device what runs there, and compare that with every certificate.

    Args:
        store: The database.
        spec: The device.
        below: Where bundles lie; None for those that the database knows.

    Raises:
        NuwaError: If there is no such folder.
        OutsideError: If the device cannot be reached.
    """
    found = device_now(spec, store)
    now = found.facts
    rows = touched_bundles(store, spec, now) if below is None else touched_below(below, spec, now)
    return TouchedBundles(spec, now, tuple(rows), found.silent)
