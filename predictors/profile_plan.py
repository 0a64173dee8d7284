"""How many engines a profile builds, counted before any is built."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_macs
from nuwa_search.core.device import DeviceSpec, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.latency.table.timer import MemoryNotebook
from nuwa_search.predictors.profile import ProfileSettings, profile

if TYPE_CHECKING:
    import onnx

# Milliseconds of the stand-in: any that grow with the work will do, because only what is measured is counted.
_FLOOR_MS, _MACS_PER_MS = 1.0, 1e8


@dataclass(frozen=True)
class ProfilePlan:
    """What a profile measures at least.

    Args:
        num_rows: Rows of the latency table.
        num_models: Whole nets.
        num_engines: Different nets in all, each of which a board builds an engine for.
    """

    num_rows: int
    num_models: int
    num_engines: int


def least_plan(base: Arch, spec: DeviceSpec, *, settings: ProfileSettings | None = None) -> ProfilePlan:
    """Count what a full profile of ``spec`` measures whatever the time: fewer make no predictor.

    The profile itself is run, with its deadline passed at once, on a stand-in that answers from the number of
    multiplications.
    """
    device, notebook = _Counted(spec), MemoryNotebook()
    hurried = replace(settings or ProfileSettings(), minutes=1e-9)
    profile(device, base, export=lambda arch: cast(Any, arch), notebook=notebook, settings=hurried)
    models = {arch.arch_id for arch, m in notebook.models() if m.state.get("role") in ("fit", "heldout")}
    return ProfilePlan(len(notebook.rows()), len(models), len(device.seen))


class _Counted:
    """A device that is handed archs in place of models and remembers which."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._spec = spec
        self.seen: set[str] = set()

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        arch = cast(Arch, model)
        self.seen.add(arch.arch_id)
        ms = _FLOOR_MS + count_macs(arch) / _MACS_PER_MS
        stats = LatencyStats(ms, ms, ms, ms, ms, ms, ms, ms, 0.0)
        return Measurement(self._spec, protocol or MeasureProtocol(), "measured", stats, samples=1)
