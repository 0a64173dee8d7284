"""Peak memory of a subnet before it is built: that of the base, less the weights that were cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import Precision
from nuwa_search.core.peak_memory import BYTES_PER_MB

WEIGHT_BYTES: dict[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of one weight in an engine of that precision."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimates peak memory; activations are counted as the base's, an upper bound, so that a limit holds.

    Args:
        base: What subnets are cut from.
        base_peak_mb: Its peak memory as measured on the device, in MB.
        precision: Precision of the weights there.
        shift_mb: By how much a measured subnet exceeded its estimate; 0 while none did.
    """

    base: Arch
    base_peak_mb: float
    precision: Precision
    shift_mb: float = 0.0

    def predict_mb(self, archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
        """Estimate a batch, (num_archs,) MB."""
        whole = count_params(self.base)
        saved = np.array([whole - count_params(arch) for arch in archs], dtype=np.float64)
        return self.base_peak_mb - saved * WEIGHT_BYTES[self.precision] / BYTES_PER_MB + self.shift_mb

    def corrected(self, arch: Arch, measured_mb: float) -> "MemoryEstimate":
        """Return an estimate that is no lower than what was measured of ``arch``."""
        missed_mb = measured_mb - float(self.predict_mb([arch])[0])
        return replace(self, shift_mb=self.shift_mb + max(0.0, missed_mb))
