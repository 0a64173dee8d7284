"""A real board whose own `trtexec` does the work; nothing is installed on it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from nuwa_search.core.device import PROTOCOL, DeviceSpec, KernelTime, Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.measuring.sustained import SustainedRun, sustained_run
from nuwa_search.core.runtime import FloatArray
from nuwa_search.core.transport import ConnectionFailedError, Reach, Transport
from nuwa_search.deploy.tensorrt.layer_kind import operators_from_model
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.profile import kernels_from_profile
from nuwa_search.deploy.tensorrt.refusals import check_spec
from nuwa_search.deploy.tensorrt.report import parse_report
from nuwa_search.deploy.tensorrt.results import RunResult, read_run
from nuwa_search.deploy.tensorrt.times import bins_from_times
from nuwa_search.deploy.tensorrt.trtexec import default_workspace_mb
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision
from nuwa_search.deploy.tensorrt.version import trt_version_from_text
from nuwa_search.latency.devices.board_doctor import examine_board
from nuwa_search.latency.devices.board_engine import BoardEngine, EnginePorts, ports_from_model
from nuwa_search.latency.devices.board_facts import find_trtexec, read_version
from nuwa_search.latency.devices.board_guard import RETRIED, BoardGuard, UnfitBoardError
from nuwa_search.latency.devices.board_load import load_state, wait_until_cool
from nuwa_search.latency.devices.board_session import BoardSession, BuildOptions
from nuwa_search.latency.devices.board_state import BoardState
from nuwa_search.latency.devices.finding import Finding
from nuwa_search.latency.devices.ssh_settings import SshSettings
from nuwa_search.latency.transport.ssh import SshTransport, ssh_address_from_text

if TYPE_CHECKING:
    import onnx

T = TypeVar("T")

_SUSTAINED_BINS = 20


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A model that may be built: its ONNX file, the operator of each node, and what was noticed."""

    content: bytes
    operators: Mapping[str, str]
    warnings: tuple[str, ...]


class SshDevice:
    """A board reached through a transport, as a ``nuwa_search.core.device.Device``.

    Use it as a context manager, or call ``close``: a folder on the board is deleted then. Rows of
    one device object are all taken in one state of power mode and clocks; a board that changes in
    between is an error, not a row.

    Args:
        spec: What it is; ``options`` may name ``trtexec``.
        transport: The way there.
        settings: How patient to be.
        sleep: Waits; a test hands in one that does not.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        transport: Transport,
        *,
        settings: SshSettings | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spec = spec
        self._transport = transport
        self._settings = settings or SshSettings()
        self._sleep = sleep
        self._session: BoardSession | None = None
        self._guard = BoardGuard(spec, transport, sysroot=self._settings.sysroot)

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: "onnx.ModelProto", *, protocol: MeasureProtocol | None = None) -> Measurement:
        """Build ``model`` on the board and time it; see ``nuwa_search.core.device.Device``.

        Lost connections, reboots, hung runs, cut output and an unsettled board are tried again;
        everything else is said at once.

        Raises:
            NuwaError: If TensorRT there cannot take the model, or the board is in another state than
                asked for.
            OutsideError: If the board failed, with every attempt's reason.
        """
        self._check_plan()
        warnings = check_operators(model, version=self._spec.runtime_version)
        check_typed_precision(model, precision=self._spec.precision, version=self._spec.runtime_version)
        plan = _Plan(model.SerializeToString(), operators_from_model(model), warnings)
        return self._tried(lambda: self._attempt(plan, protocol=protocol), what="figure")

    def compiled(self, model: "onnx.ModelProto") -> BoardEngine:
        """Build ``model`` on the board, or find its engine, ready to run; see ``nuwa_search.core.runtime.RunsModels``.

        Raises:
            NuwaError: If TensorRT there cannot take the model.
            OutsideError: If the board failed, with every attempt's reason.
        """
        self._check_plan()
        check_operators(model, version=self._spec.runtime_version)
        check_typed_precision(model, precision=self._spec.precision, version=self._spec.runtime_version)
        content, ports = model.SerializeToString(), ports_from_model(model)
        return self._tried(lambda: self._engine_of(content, ports), what="engine")

    def sustained(
        self, model: "onnx.ModelProto", *, seconds: float, protocol: MeasureProtocol | None = None
    ) -> SustainedRun:
        """Keep the board busy in one run of `trtexec`, then wait until it is cool again.

        Throttling, for which a short measurement is discarded, is what this one is after: it is recorded.

        Raises:
            NuwaError: If TensorRT there cannot take the model, or the board is in another state than asked for.
            OutsideError: If the board failed, with every attempt's reason.
        """
        self._check_plan()
        check_operators(model, version=self._spec.runtime_version)
        check_typed_precision(model, precision=self._spec.precision, version=self._spec.runtime_version)
        content = model.SerializeToString()
        return self._tried(lambda: self._load(content, seconds=seconds, protocol=protocol), what="figure")

    def has_engine(self, model: "onnx.ModelProto") -> bool:
        """Whether the engine of ``model`` lies on the board already, so that no build is needed."""
        content = model.SerializeToString()
        return self._tried(lambda: self._opened().has_engine(content, options=self._build_options), what="answer")

    def forget(self, model: "onnx.ModelProto") -> None:
        """Delete the engine of ``model`` on the board, once what it was built for is stored."""
        content = model.SerializeToString()
        self._tried(lambda: self._opened().forget(content, options=self._build_options), what="answer")

    def forget_all(self) -> None:
        """Delete the folder that keeps engines on the board."""
        self._tried(lambda: self._opened().forget_all(), what="answer")

    def _tried(self, attempt: Callable[[], T], *, what: str) -> T:
        """Run ``attempt`` on the board, and again after a lost connection or a cut answer."""
        reasons: list[str] = []
        while True:
            try:
                return attempt()
            except RETRIED as error:
                reasons.append(error.message)
                is_first_contact = self._session is None and isinstance(error, ConnectionFailedError)
                if is_first_contact:
                    raise
                if len(reasons) >= self._settings.max_attempts:
                    raise OutsideError(
                        f"{self._spec.name} gave no {what} in {len(reasons)} attempts: " + "; then ".join(reasons),
                        hint=error.hint or f"nuwa doctor {self._spec.name}",
                    ) from error
                self._recover(error.message)
            finally:
                self._tidy()

    def doctor(self) -> list[Finding]:
        """Check everything that can be wrong with the board, and give the command that mends each fault."""
        return examine_board(self._spec, self._transport, sysroot=self._settings.sysroot)

    def facts_now(self) -> dict[str, str]:
        """Ask the board what it runs now: TensorRT, and what its state says of system, chip, mode and clocks.

        Raises:
            OutsideError: If it cannot be reached or has no working `trtexec`.
        """
        trtexec = find_trtexec(self._transport, preferred=dict(self._spec.options).get("trtexec"))
        version = read_version(self._transport, trtexec)
        return {**self._guard.read().fixed(), "runtime_version": str(version)}

    def close(self) -> None:
        """Delete what was left on the board and disconnect; a board that is gone keeps its folder."""
        try:
            if self._session is not None:
                self._session.close()
        except ConnectionFailedError:
            pass  # its /tmp is emptied by the next boot
        finally:
            self._session = None
            self._transport.close()

    def __enter__(self) -> "SshDevice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_plan(self) -> None:
        if not self._spec.runtime_version:
            raise NuwaError(
                f"the TensorRT version of {self._spec.name} is not known",
                hint=f"nuwa device add {self._spec.name} asks the board for it",
            )
        check_spec(self._spec)

    def _opened(self) -> BoardSession:
        if self._session is None:
            preferred = dict(self._spec.options).get("trtexec")
            trtexec = find_trtexec(self._transport, preferred=preferred)
            version = read_version(self._transport, trtexec)
            if version.release != trt_version_from_text(self._spec.runtime_version).release:
                raise UnfitBoardError(
                    f"{self._spec.name} is registered with TensorRT {self._spec.runtime_version} and has {version} now",
                    hint=f"register it again: nuwa device rm {self._spec.name}, then nuwa device add",
                )
            self._session = BoardSession(
                self._transport,
                trtexec=trtexec,
                version=self._spec.runtime_version,
                build_timeout_s=self._settings.build_timeout_s,
                store_name=self._spec.device_id if self._settings.keeps_engines else None,
            )
        return self._session

    @property
    def _build_options(self) -> BuildOptions:
        workspace_mb = self._settings.workspace_mb or default_workspace_mb(self._spec.memory_mb)
        return BuildOptions(self._spec.precision, workspace_mb)

    def _engine_of(self, content: bytes, ports: EnginePorts) -> BoardEngine:
        session = self._opened()
        sha256 = session.engine_sha256(session.engine(content, options=self._build_options))

        def infer(values: bytes, read: Callable[[Path], FloatArray]) -> FloatArray:
            return self._tried(lambda: read(self._infer(content, sha256, ports, values)), what="output")

        return BoardEngine(ports, f"{self._spec.runtime} {self._spec.runtime_version}", sha256, infer)

    def _infer(self, content: bytes, sha256: str, ports: EnginePorts, values: bytes) -> Path:
        session = self._opened()
        is_there = session.has_engine(content, options=self._build_options)
        path = session.engine(content, options=self._build_options)
        if not is_there and session.engine_sha256(path) != sha256:
            raise NuwaError(
                f"the engine on {self._spec.name} was lost and built anew, and builds differ: outputs of two engines "
                "are not one answer",
                hint="run the same command again",
            )
        return session.infer(path, input_name=ports.input_name, values=values)

    def _load(self, content: bytes, *, seconds: float, protocol: MeasureProtocol | None) -> SustainedRun:
        session = self._opened()
        engine = session.engine(content, options=self._build_options)
        before = self._guard.settle(clocks_pinned=protocol.clocks_pinned if protocol else None)
        asked = dataclasses.replace(protocol or MeasureProtocol(), clocks_pinned=before.clocks_pinned)
        log, times, samples = session.load_engine(
            engine, protocol=asked, seconds=seconds, sysroot=self._settings.sysroot
        )
        report = parse_report(log)
        bins = bins_from_times(
            times, report=report, transfers=asked.transfers, seconds=seconds, num_bins=_SUSTAINED_BINS
        )
        run = sustained_run(bins)
        after = self._guard.after_load(before)
        waited_s = wait_until_cool(
            lambda: self._guard.read(), before=before, sleep=self._sleep, poll_s=self._settings.poll_s
        )
        return dataclasses.replace(run, state=load_state(before, after, samples=samples, cooldown_s=waited_s))

    def _attempt(self, plan: _Plan, *, protocol: MeasureProtocol | None) -> Measurement:
        session = self._opened()
        wants_pinned = protocol.clocks_pinned if protocol else None
        self._guard.settle(clocks_pinned=wants_pinned)  # before minutes are spent on a build
        engine = session.engine(plan.content, options=self._build_options)
        before = self._guard.settle(clocks_pinned=wants_pinned)
        asked = dataclasses.replace(protocol or PROTOCOL, clocks_pinned=before.clocks_pinned)
        result = self._time(session, engine, protocol=asked)
        for _ in range(self._settings.max_repeats):
            if not result.is_unstable:
                break
            self._sleep(self._settings.poll_s)
            again = self._time(session, engine, protocol=asked)
            result = min(result, again, key=lambda run: run.latency_ms.cv)
        after = self._guard.confirm(before)
        breakdown, missing = self._profile(
            session, engine, protocol=asked, median_ms=result.latency_ms.median, operators=plan.operators
        )
        said = (*plan.warnings, *result.warnings, *missing)
        measured = self._measurement(result, asked, before=before, after=after, breakdown=breakdown, warnings=said)
        engine_state = {"engine_sha256": session.engine_sha256(engine)}
        if (built_s := session.built_s(plan.content, options=self._build_options)) is not None:
            engine_state["engine_build_s"] = f"{built_s:g}"
        if result.report.compute_capability is not None:
            engine_state["compute_capability"] = result.report.compute_capability
        return dataclasses.replace(measured, state={**measured.state, **engine_state})

    def _time(self, session: BoardSession, engine: str, *, protocol: MeasureProtocol) -> RunResult:
        log, times = session.time_engine(engine, protocol=protocol)
        return read_run(log, times=times, protocol=protocol, version=self._spec.runtime_version)

    def _profile(
        self,
        session: BoardSession,
        engine: str,
        *,
        protocol: MeasureProtocol,
        median_ms: float,
        operators: Mapping[str, str],
    ) -> tuple[tuple[KernelTime, ...], tuple[str, ...]]:
        """Time the layers; the latency stands without its breakdown, and the warning says so."""
        if not self._settings.with_profile:
            return (), ()
        try:
            log, profile = session.profile_engine(engine, protocol=protocol)
            parse_report(log)
            return kernels_from_profile(profile, median_ms=median_ms, operators=operators), ()
        except OutsideError as error:
            return (), (f"no breakdown: {error.message}",)

    def _recover(self, reason: str) -> None:
        """Wait until the board answers again, then end what was left running on it."""
        waited_s = 0.0
        while True:
            self._sleep(self._settings.poll_s)
            waited_s += self._settings.poll_s
            try:
                if self._session is not None:
                    self._session.tidy()
                return
            except ConnectionFailedError as error:
                if waited_s >= self._settings.reconnect_s:
                    raise OutsideError(
                        f"{self._spec.name} did not come back within {waited_s:.0f} s; before that: {reason}",
                        hint=error.hint,
                    ) from error

    def _tidy(self) -> None:
        """Delete single runs' files; what cannot be deleted now goes with the folder."""
        try:
            if self._session is not None:
                self._session.tidy()
        except OutsideError:
            return

    def _measurement(
        self,
        result: RunResult,
        protocol: MeasureProtocol,
        *,
        before: BoardState,
        after: BoardState,
        breakdown: tuple[KernelTime, ...],
        warnings: tuple[str, ...],
    ) -> Measurement:
        moving = {*before.values, *after.values} - before.fixed().keys()
        state = dict(before.fixed())
        for key in sorted(moving):
            state[f"{key}_before"] = before.values.get(key, "")
            state[f"{key}_after"] = after.values.get(key, "")
        said = list(warnings)
        if self._guard.has_pinned:
            said.append("clocks were pinned by jetson_clocks and stay so until the next boot")
        if before.lacks_whole_power:
            said.append("no rail of this board carries its whole power: power_in_mw is left out, the rails are listed")
        if not before.clocks_pinned:
            said.append("clocks are not pinned, or the board does not tell: short runs may differ by a factor of 2")
        return Measurement(
            device=self._spec,
            protocol=protocol,
            provenance="measured",
            latency_ms=result.latency_ms,
            samples=result.samples,
            breakdown=breakdown,
            peak_memory_mb=result.report.managed_memory_mb,
            state=state,
            warnings=tuple(said),
        )


def ssh_device_from_spec(
    spec: DeviceSpec, *, settings: SshSettings | None = None, reach: Reach | None = None
) -> SshDevice:
    """Make the device of a registered board; nothing is connected yet.

    Args:
        spec: As it is registered.
        settings: How patient to be.
        reach: Finds the way there; None, or where it finds none, is SSH from here.

    Raises:
        NuwaError: If the spec names no SSH address.
    """
    address = dict(spec.options).get("ssh")
    if address is None:
        raise NuwaError(
            f"{spec.name} is registered without an SSH address",
            hint=f"nuwa device rm {spec.name}, then nuwa device add {spec.name} --ssh user@host",
        )
    way = None if reach is None else reach(spec.name, address)
    return SshDevice(spec, way or SshTransport(ssh_address_from_text(address)), settings=settings)
