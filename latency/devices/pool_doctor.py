"""Check a pool: every board by its own doctor, and the boards against each other."""

from typing import TYPE_CHECKING

from nuwa_search.core.device import DeviceSpec
from nuwa_search.latency.devices.finding import Finding

if TYPE_CHECKING:
    from nuwa_search.store.store import Store


def examine_pool(spec: DeviceSpec, store: "Store") -> list[Finding]:
    """Check each board that nobody uses; it leaves the pool, or comes back, by what is found. Then compare all.

    How far a board is from the median one is told, and is no fault: what is measured on it is corrected.

    Args:
        spec: Of the pool.
        store: The database.
    """
    from nuwa_search.latency.devices.drift import ratio_words
    from nuwa_search.latency.devices.find import open_pool  # numpy and the exporter, which `doctor --help` does without

    findings: list[Finding] = []
    with open_pool(spec, store) as pool:
        for board, found in pool.boards.examine_all().items():
            findings += [Finding(f"{board}: {one.name}", one.is_ok, one.found, one.mend) for one in found]
        for ratio in pool.compare():
            words = f"{ratio_words(ratio)} the median board"
            words += ": corrected for" if ratio.is_off else ", which is within the noise" if ratio.interval else ""
            findings.append(Finding(f"{ratio.board}: drift", is_ok=True, found=words))
    return findings
