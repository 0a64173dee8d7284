"""Which emulated board stands beside a real one: by what was found when it was probed, never by its name."""

import dataclasses

from nuwa_search.core.device import DeviceSpec
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS


def emulated_sibling(spec: DeviceSpec, *, compute_capability: str | None = None) -> DeviceSpec | None:
    """Find the emulated board with the same GPU generation, in the real one's precision; None where there is none.

    Of several the one in the same power mode is taken, else the first: a transfer scales it to what is measured.

    Args:
        spec: The real board.
        compute_capability: What a run there said, where the spec does not know it.
    """
    capability = spec.compute_capability or compute_capability
    alike = [known for known in EMULATED_SPECS.values() if known.compute_capability == capability]
    if capability is None or not alike:
        return None
    mode = (spec.power_mode or "").casefold()
    best = next((known for known in alike if (known.power_mode or "").casefold() == mode), alike[0])
    return dataclasses.replace(best, precision=spec.precision, batch=spec.batch)
