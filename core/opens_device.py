"""How a job opens the device that it is told of, where the devices themselves are of a higher layer."""

from contextlib import AbstractContextManager
from typing import Protocol

from nuwa_search.core.device import Device, DeviceSpec


class OpensDevice(Protocol):
    """Opens a device for the length of a block; a board is left as it was found, but for engines that it is to keep."""

    def __call__(
        self, spec: DeviceSpec, *, seed: int = 0, keeps_engines: bool = False
    ) -> AbstractContextManager[Device]:
        """Open the device.

        Args:
            spec: Which one.
            seed: Of an emulated device's noise.
            keeps_engines: Whether a board keeps what it compiled.

        Raises:
            NuwaError: If the runtime behind it is not installed.
            OutsideError: If it cannot be reached.
        """
        ...
