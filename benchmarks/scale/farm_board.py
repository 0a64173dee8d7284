"""A simulated board: its clock runs fast, everything that shares it is real."""

import fcntl
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from nuwa_search.core.device import PROTOCOL, DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.errors import OutsideError
from nuwa_search.latency.devices.finding import Finding

SPEED = 50.0
"""Seconds of a board in one of ours."""
NET_S = 120.0
"""What a net takes on a board, its engine's build in it: 2 to 11 minutes are usual on a Nano; the least of them."""
REFERENCE_S = 20.0
NOISE = 0.004
"""Relative spread of one median, about what the emulator has (``latency/emulator/constants.py``)."""


@dataclass(frozen=True)
class Outage:
    """When a board is broken, in our seconds since the farm began."""

    begin_s: float
    end_s: float


class SimulatedBoard:
    """Takes its time, tells a latency by formula, and counts whoever comes while another one measures.

    Args:
        spec: Of the board.
        factor: Its latencies over those of a board exactly as its kind is.
        outage: When it is broken; None for never.
        folder: Of one file a board, locked while somebody measures: whatever process dies, the kernel frees it.
        begun: ``time.time()`` when the farm began.
        on_net: Told, in our seconds since then, from when to when a net was measured; not of one that failed.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        *,
        factor: float,
        outage: Outage | None,
        folder: Path,
        begun: float,
        on_net: Callable[[float, float], None],
    ) -> None:
        self._spec = spec
        self._factor = factor
        self._outage = outage
        self._path = folder / f"{spec.name}.lock"
        self._begun = begun
        self._on_net = on_net
        self._random = random.Random(f"{spec.name}/{os.getpid()}")
        self.num_doubles = 0

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Wait as long as a board takes, and tell the net's latency as this board has it."""
        true_ms = float(model.graph.doc_string.split()[1])
        is_reference = model.graph.doc_string.startswith("reference")
        wanted_s = (REFERENCE_S if is_reference else NET_S) / SPEED * self._random.uniform(0.7, 1.3)
        begun = time.monotonic()
        with self._alone():
            while (left := begun + wanted_s - time.monotonic()) > 0:
                self._require_well()
                time.sleep(min(left, 0.1))
            self._require_well()
        ended_s = time.time() - self._begun
        if not is_reference:
            self._on_net(ended_s - (time.monotonic() - begun), ended_s)
        ms = true_ms * self._factor * math.exp(self._random.gauss(0.0, NOISE))
        stats = LatencyStats(ms, ms, ms, ms, ms, ms, ms, ms, 0.0)
        return Measurement(self._spec, protocol or PROTOCOL, "measured", stats, 20)

    def doctor(self) -> list[Finding]:
        """Say whether it is broken now."""
        try:
            self._require_well()
        except OutsideError as error:
            return [Finding("reachable", is_ok=False, found=error.message)]
        return [Finding("reachable", is_ok=True, found=self._spec.name)]

    def _require_well(self) -> None:
        now = time.time() - self._begun
        if self._outage is not None and self._outage.begin_s <= now < self._outage.end_s:
            raise OutsideError(f"{self._spec.name} does not answer")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.num_doubles += 1
            yield
