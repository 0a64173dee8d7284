"""How a board is profiled the first time: by a transfer from its emulated sibling, and what that costs first."""

from dataclasses import dataclass, replace

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.latency.devices.siblings import emulated_sibling
from nuwa_search.latency.table.store_notebook import StoreNotebook
from nuwa_search.latency.table.timer import ArchTimer
from nuwa_search.predictors.device_predictor import exporter_of
from nuwa_search.predictors.latency.transfer import MAX_MEASUREMENTS
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.predictors.profile_plan import least_plan
from nuwa_search.store.store import Store

_MB = 1024**2


@dataclass(frozen=True)
class ProfileCost:
    """What the rest of a profile takes, by the first engine that was built.

    Args:
        first_s: Seconds for one engine, its run included, as the first one took.
        num_engines: Engines that are still to build, at least.
        num_rows: Rows of the latency table among what is left; 0 for a transfer, which scales another's.
        num_models: Whole nets among what is left.
        engine_mb: Largest engine, by its ONNX file, in MiB.
        num_kept: Engines that lie on the board at the same time, at most.
        minutes: Time that the user gave; None for none.
    """

    first_s: float
    num_engines: int
    num_rows: int
    num_models: int
    engine_mb: float
    num_kept: int
    minutes: float | None = None

    @property
    def hours(self) -> float:
        """Hours that the rest takes, at least."""
        return self.num_engines * self.first_s / 3600

    @property
    def disk_mb(self) -> float:
        """Room that engines need on the board, in MiB; while one is built, its model and a copy lie beside it."""
        return (self.num_kept + 2) * self.engine_mb

    @property
    def fits(self) -> bool:
        """Whether the time that the user gave holds what a predictor needs at least."""
        return self.minutes is None or 60 * self.minutes >= self.num_engines * self.first_s

    def words(self, name: str) -> str:
        """Write the cost in words: seconds of one engine, and rows, engines, hours and disk of the rest."""
        rows = f"{self.num_rows} rows of the latency table and " if self.num_rows else ""
        text = (
            f"{name}: an engine takes {self.first_s / 60:.1f} min to build and run. Still to measure"
            f"{', at least' if self.minutes is not None else ''}: {rows}{self.num_models} whole nets, "
            f"{self.num_engines} engines, about {self.hours:.1f} h, up to {self.disk_mb:.0f} MiB on the board. Each "
            "engine is kept there until what it was built for is stored here; stopped at any moment, it goes on."
        )
        if self.minutes is not None:
            held = int(60 * self.minutes / self.first_s)
            text += f" The {self.minutes:g} minutes given hold about {held} engines."
        return text


@dataclass(frozen=True)
class ProfileRest:
    """What is left of a profile, before anything is known of its time; arguments as of ``ProfileCost``."""

    num_engines: int
    num_rows: int
    num_models: int
    engine_mb: float
    num_kept: int
    minutes: float | None

    def cost(self, first_s: float) -> ProfileCost:
        """Price all of it at ``first_s`` seconds an engine."""
        return ProfileCost(first_s, **vars(self))

    def after_first(self, first_s: float) -> ProfileCost:
        """Price what stays once the first of its engines has been built and measured."""
        rest = replace(
            self,
            num_engines=max(0, self.num_engines - 1),
            num_models=self.num_models if self.num_rows else max(0, self.num_models - 1),
            minutes=None if self.minutes is None else max(0.0, self.minutes - first_s / 60),
        )
        return rest.cost(first_s)


def transfer_source(store: Store, spec: DeviceSpec, base: Arch) -> DeviceSpec:
    """Find the emulated sibling of a board; a board whose chip is not known builds one net and says what it is.

    Raises:
        NuwaError: If no emulated board is like it.
        OutsideError: If the board failed.
    """
    found = emulated_sibling(spec) or emulated_sibling(spec, compute_capability=_probed(store, spec, base))
    if found is None:
        raise NuwaError(
            f"no emulated board is known that {spec.name} could take its predictor from",
            hint=f"nuwa profile {spec.name} --from DEVICE names one, or --minutes N measures a table of its own "
            "over night",
        )
    return found


def _probed(store: Store, spec: DeviceSpec, base: Arch) -> str | None:
    notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
    known = (m.state.get("compute_capability") for _, m in notebook.models())
    if capability := next(filter(None, known), None):
        return capability
    store.record_device(spec)
    with opened_device(spec, keeps_engines=True, store=store) as device:
        timer = ArchTimer(device, export=exporter_of(spec), protocol=PROTOCOL, notebook=notebook, keeps=("reference",))
        return timer.measure(base, fresh=True, role="reference").state.get("compute_capability")


def known_build_s(store: Store, spec: DeviceSpec) -> float | None:
    """Return how many seconds an engine took to build on a board before; None where none was built."""
    notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
    built = [float(m.state["engine_build_s"]) for _, m in notebook.models() if "engine_build_s" in m.state]
    return max(built, default=None)


def transfer_rest(store: Store, spec: DeviceSpec, base: Arch, *, minutes: float | None) -> ProfileRest:
    """Count the nets that a transfer has still to measure.

    Args:
        store: The database.
        spec: The board.
        base: Shape of the base.
        minutes: Time limit of the user in minutes; None for none.
    """
    notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
    known = {arch.arch_id for arch, m in notebook.models() if m.state.get("role") == "fit"}
    left = max(0, MAX_MEASUREMENTS - len(known))
    return ProfileRest(left, 0, left, _onnx_mb(spec, base), 1, minutes)


def table_rest(store: Store, spec: DeviceSpec, base: Arch, *, settings: ProfileSettings) -> ProfileRest:
    """Count what a table of the board's own needs at least, less what is measured already.

    Args:
        store: The database.
        spec: The board.
        base: Shape of the base.
        settings: How much is measured; ``minutes`` is the time limit of the user.
    """
    notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
    plan = least_plan(base, spec, settings=settings)
    known = {arch.arch_id for arch, _ in notebook.models()}
    models = {arch.arch_id for arch, m in notebook.models() if m.state.get("role") in ("fit", "heldout")}
    return ProfileRest(
        num_engines=max(0, plan.num_engines - len(known)),
        num_rows=max(0, plan.num_rows - len(notebook.rows())),
        num_models=max(0, plan.num_models - len(models)),
        engine_mb=_onnx_mb(spec, base),
        num_kept=settings.num_fit,
        minutes=settings.minutes,
    )


def _onnx_mb(spec: DeviceSpec, base: Arch) -> float:
    return float(exporter_of(spec)(base).ByteSize() / _MB)
