"""One stay on a board: a folder of its own, runs of `trtexec` that cannot outlive it, engines kept."""

import hashlib
import math
import re
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nuwa_search.core.device import MeasureProtocol, Precision
from nuwa_search.core.errors import OutsideError
from nuwa_search.core.transport import CommandTimeoutError, ConnectionFailedError, DiskFullError, Transport
from nuwa_search.deploy.tensorrt.failures import Failure, failure_error, read_failure
from nuwa_search.deploy.tensorrt.report import CutOffError, parse_report
from nuwa_search.deploy.tensorrt.trtexec import build_line, infer_line, measure_line, profile_line
from nuwa_search.latency.devices.board_scripts import END_ALL, RUN, RUN_INSIDE, RUN_WATCHED, STORE
from nuwa_search.latency.devices.local_folder import LocalFolder

# Engines of one stay that are kept for measuring again (the reference model, repeats); each is about
# as large as its ONNX file.
_KEPT_ENGINES = 4

# An FP32 ONNX file, its engine (at most as large) and the builder's temporary copy.
_DISK_FACTOR = 3
_DISK_MARGIN_MB = 64

_SHORT_S = 30.0
_NUM_SAMPLES = 120  # of clock and heat in a run under load: every five seconds of ten minutes
_KILL_AFTER_S = 10  # from SIGTERM to SIGKILL; a GPU that still answers lets go well within
_TRANSPORT_SLACK_S = 60.0  # the board ends a run by itself; this much later the link counts as dead
_LOAD_S = 120.0  # start CUDA and load an engine: 4-15 s seen on a Nano

_TIMED_OUT, _KILLED = 124, 137

_ENGINE_NAME = re.compile(r"[0-9a-f]{16}-\w+-\d+\.engine")


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is built with beside its model: precision, and builder workspace in MiB."""

    precision: Precision
    workspace_mb: int


class RunTimeoutError(OutsideError):
    """`trtexec` hung and was ended on the board; running again may help."""


class BoardSession:
    """A folder on a board and what is done in it.

    Args:
        transport: The way there.
        trtexec: The executable there.
        version: Its TensorRT version.
        build_timeout_s: Longest engine build; 2-11 minutes are usual on a Nano.
        store_name: Folder below ``~/.cache/nuwa-search`` there that keeps engines until ``forget``; None keeps a few in
            the stay's own folder, which is deleted when it ends.
    """

    def __init__(
        self, transport: Transport, *, trtexec: str, version: str, build_timeout_s: float, store_name: str | None = None
    ) -> None:
        self._transport = transport
        self._trtexec = trtexec
        self._version = version
        self._build_timeout_s = build_timeout_s
        self._store_name = store_name
        self._store: str | None = None
        self._dir: str | None = None
        self._engines: OrderedDict[str, str] = OrderedDict()
        self._build_s: dict[str, float | None] = {}
        self._runs = 0
        self._here = LocalFolder("nuwa-board-")

    def engine(self, model: bytes, *, options: BuildOptions) -> str:
        """Build an engine there, or find the one built before; return its path.

        Args:
            model: The serialised ONNX file.
            options: How it is built.

        Raises:
            NuwaError: If the board's parser refuses the model.
            DiskFullError: If there is no room.
            OutsideError: If the build failed.
        """
        digest = hashlib.sha256(model).hexdigest()
        key = _engine_key(model, options=options)
        folder = self._opened()
        if key in self._engines and self._has_file(self._engines[key]):
            self._engines.move_to_end(key)
            return self._engines[key]
        kept = self._store or folder
        run_dir = self._new_run()
        onnx_path, part_path = f"{run_dir}/model.onnx", f"{run_dir}/engine"
        self._put_model(model, onnx_path, digest=digest)
        line = build_line(
            onnx_path,
            part_path,
            version=self._version,
            precision=options.precision,
            workspace_mb=options.workspace_mb,
            timing_cache=f"{kept}/timing.cache",
            trtexec=self._trtexec,
        )
        log = self._run_trtexec(line, run_dir=run_dir, step="building the engine", timeout_s=self._build_timeout_s)
        self._build_s[key] = parse_report(log).build_s
        # Moved into place only once it is known to be whole; a broken build stays in the run's folder.
        engine_path = f"{kept}/{key}.engine"
        # Twice, because the first move may be a copy to another disk, and only a rename is whole or not there.
        script = 'test -s "$1" && mv -- "$1" "$2.part" && mv -- "$2.part" "$2"'
        moved = self._transport.run(["sh", "-c", script, "sh", part_path, engine_path], timeout_s=_LOAD_S)
        if moved.returncode:
            raise CutOffError("trtexec reports success and left no engine")
        self._keep_engine(key, engine_path)
        return engine_path

    def time_engine(self, engine_path: str, *, protocol: MeasureProtocol) -> tuple[Path, Path]:
        """Time an engine; return the log and the times file, both here and good until the next run."""
        run_dir = self._new_run()
        out = f"{run_dir}/times.json"
        line = measure_line(
            engine_path, version=self._version, protocol=protocol, export_times=out, trtexec=self._trtexec
        )
        # Slow models need longer than the protocol's own times for the repetitions it asks for.
        limit_s = _LOAD_S + (protocol.warmup_ms + protocol.min_duration_ms) / 1000 + 2 * protocol.min_repetitions
        log = self._run_trtexec(line, run_dir=run_dir, step="measuring", timeout_s=limit_s)
        return log, self._fetch(out)

    def load_engine(
        self, engine_path: str, *, protocol: MeasureProtocol, seconds: float, sysroot: str
    ) -> tuple[Path, Path, list[tuple[int, int]]]:
        """Keep the GPU busy with an engine; return log, times file, and samples of clock (Hz) and heat (0.001 °C).

        Args:
            engine_path: Path of the engine on the board.
            protocol: How to measure; its warm-up and duration are not used.
            seconds: Duration of the load in seconds.
            sysroot: Prefix of the paths ``/sys`` and ``/proc``; empty on a real board.
        """
        run_dir = self._new_run()
        out = f"{run_dir}/times.json"
        busy = replace(protocol, warmup_ms=0.0, min_duration_ms=1000 * seconds)
        line = measure_line(engine_path, version=self._version, protocol=busy, export_times=out, trtexec=self._trtexec)
        every = str(max(1, math.ceil(seconds / _NUM_SAMPLES)))
        log = self._run_trtexec(
            line,
            run_dir=run_dir,
            step="measuring under load",
            timeout_s=_LOAD_S + seconds + 2 * protocol.min_repetitions,
            start=(RUN_WATCHED, [sysroot, every]),
        )
        samples = self._transport.run(["cat", f"{run_dir}/samples"], timeout_s=_SHORT_S).stdout
        return log, self._fetch(out), _samples_from_text(samples)

    def profile_engine(self, engine_path: str, *, protocol: MeasureProtocol) -> tuple[Path, Path]:
        """Time an engine's layers; return the log and the profile file, both here and good until the next run."""
        run_dir = self._new_run()
        out = f"{run_dir}/profile.json"
        line = profile_line(
            engine_path, version=self._version, protocol=protocol, export_profile=out, trtexec=self._trtexec
        )
        limit_s = _LOAD_S + 4 * protocol.min_repetitions
        log = self._run_trtexec(line, run_dir=run_dir, step="profiling", timeout_s=limit_s)
        return log, self._fetch(out)

    def built_s(self, model: bytes, *, options: BuildOptions) -> float | None:
        """Seconds that trtexec took to build the engine of ``model`` in this stay; None where it was there before."""
        return self._build_s.get(_engine_key(model, options=options))

    def has_engine(self, model: bytes, *, options: BuildOptions) -> bool:
        """Whether an engine is there already, from this stay or, with a store, an earlier one."""
        self._opened()
        path = self._engines.get(_engine_key(model, options=options))
        return path is not None and self._has_file(path)

    def forget(self, model: bytes, *, options: BuildOptions) -> None:
        """Delete an engine, once what it was built for is stored here; none there is no error."""
        self._opened()
        path = self._engines.pop(_engine_key(model, options=options), None)
        if path is not None:
            self._transport.remove(path)

    def forget_all(self) -> None:
        """Delete the folder that keeps engines, with the timing cache."""
        self._opened()
        if self._store is not None:
            self._transport.remove(self._store)
            self._store = None
            self._engines.clear()

    def engine_sha256(self, engine_path: str) -> str:
        """Hash an engine where it lies.

        Raises:
            OutsideError: If it cannot be read.
        """
        answer = self._transport.run(["sha256sum", "--", engine_path], timeout_s=_LOAD_S)
        # sha256sum marks a name with a backslash or line end in it by a backslash before the hash.
        found = (answer.stdout.split() or [""])[0].removeprefix("\\")
        if answer.returncode or not re.fullmatch(r"[0-9a-f]{64}", found):
            raise OutsideError(f"the engine on {self._transport.address} cannot be read: {answer.output.strip()[:200]}")
        return found

    def infer(self, engine_path: str, *, input_name: str, values: bytes) -> Path:
        """Run an engine once on one input; return the exported outputs, here and good until the next run."""
        run_dir = self._new_run()
        self._transport.make_dir(run_dir)
        local = self._here.path / "input"
        local.write_bytes(values)
        self._transport.put(local, f"{run_dir}/input")
        out = f"{run_dir}/output.json"
        line = infer_line(
            engine_path,
            version=self._version,
            inputs={input_name: "input"},
            export_output=out,
            trtexec=self._trtexec,
        )
        log = self._run_trtexec(
            line, run_dir=run_dir, step="running the engine", timeout_s=_LOAD_S, start=(RUN_INSIDE, [])
        )
        parse_report(log)
        return self._fetch(out)

    def tidy(self) -> None:
        """End leftovers of this and earlier connections and delete the files of single runs; engines stay."""
        if self._dir is not None:
            self._transport.run(["sh", "-c", END_ALL, "sh", self._dir], timeout_s=_SHORT_S)

    def close(self) -> None:
        """End leftovers and delete the folder.

        Raises:
            OutsideError: If the board cannot be reached; the folder is then left behind.
        """
        self._here.cleanup()
        if self._dir is not None:
            self.tidy()
            self._transport.remove(self._dir)
            self._dir = None
            self._store = None
            self._engines.clear()

    @property
    def folder(self) -> str | None:
        """The folder on the board; None before the first use and after ``close``."""
        return self._dir

    def _opened(self) -> str:
        """Make sure that the folder is there; a reboot empties /tmp."""
        if self._dir is not None:
            if self._transport.run(["test", "-d", self._dir], timeout_s=_SHORT_S).returncode == 0:
                self._open_store()
                return self._dir
            self._dir = None
            if self._store is None:
                self._engines.clear()
        made = self._transport.run(["sh", "-c", 'mktemp -d "${TMPDIR:-/tmp}/nuwa.XXXXXXXX"'], timeout_s=_SHORT_S)
        path = made.stdout.strip()
        if made.returncode or not path.startswith("/"):
            raise OutsideError(f"cannot make a folder on {self._transport.address}: {made.output.strip()}")
        self._dir = path
        self._open_store()
        return path

    def _open_store(self) -> None:
        """Make sure that the folder which keeps engines is known; it outlives reboots."""
        name = self._store_name
        if name is None or self._store is not None:
            return
        made = self._transport.run(["sh", "-c", STORE, "sh", name], timeout_s=_SHORT_S)
        folder, *names = made.stdout.splitlines() or [""]
        if made.returncode or not folder.startswith("/"):
            raise OutsideError(
                f"cannot keep engines on {self._transport.address}: {made.output.strip()[:200]}",
                hint="its user needs a home folder that can be written",
            )
        self._store = folder
        for file in names:
            if _ENGINE_NAME.fullmatch(file):
                self._engines[file.removesuffix(".engine")] = f"{folder}/{file}"

    def _new_run(self) -> str:
        self._runs += 1
        return f"{self._dir}/run-{self._runs}"

    def _put_model(self, model: bytes, remote: str, *, digest: str) -> None:
        needed_mb = _DISK_FACTOR * len(model) / 1024**2 + _DISK_MARGIN_MB
        run_dir = remote.rsplit("/", 1)[0]
        self._transport.make_dir(run_dir)
        free_mb = self._transport.free_disk_mb(run_dir)
        if free_mb < needed_mb:
            raise DiskFullError(
                f"{self._transport.address} has {free_mb:.0f} MiB free and this model needs {needed_mb:.0f}",
                hint="free disk space there; df -h shows where",
            )
        with tempfile.TemporaryDirectory() as temporary:
            local = Path(temporary) / "model.onnx"
            local.write_bytes(model)
            self._transport.put(local, remote)
        answer = self._transport.run(["sha256sum", "--", remote], timeout_s=_SHORT_S)
        if answer.returncode or answer.stdout.split()[:1] != [digest]:
            raise CutOffError(f"the model did not arrive whole on {self._transport.address}")

    def _run_trtexec(
        self,
        line: Sequence[str],
        *,
        run_dir: str,
        step: str,
        timeout_s: float,
        start: tuple[str, list[str]] = (RUN, []),
    ) -> Path:
        """Run `trtexec` to its end; return the file here that holds what it printed."""
        log = self._here.path / "log"
        limit = ["timeout", f"--kill-after={_KILL_AFTER_S}", str(math.ceil(timeout_s))]
        started = time.monotonic()
        try:
            result = self._transport.run(
                ["sh", "-c", start[0], "sh", run_dir, *start[1], *limit, *line],
                timeout_s=timeout_s + _KILL_AFTER_S + _TRANSPORT_SLACK_S,
                output_path=log,
            )
        except CommandTimeoutError as error:
            self.tidy()
            raise RunTimeoutError(f"{step} hung: {error.message}", hint=error.hint) from error
        if result.returncode == 0:
            return log
        code = result.returncode
        if code == _KILLED and time.monotonic() - started >= timeout_s:
            code = _TIMED_OUT
        raise _step_error(read_failure(log, returncode=code), step=step)

    def _fetch(self, remote: str) -> Path:
        local = self._here.path / "answer"
        try:
            self._transport.get(remote, local)
        except ConnectionFailedError:
            raise
        except OutsideError as error:
            raise CutOffError(f"the run left no answer: {error.message}") from error
        return local

    def _has_file(self, remote: str) -> bool:
        return self._transport.run(["test", "-s", remote], timeout_s=_SHORT_S).returncode == 0

    def _keep_engine(self, key: str, path: str) -> None:
        self._engines[key] = path
        while self._store is None and len(self._engines) > _KEPT_ENGINES:
            self._transport.remove(self._engines.popitem(last=False)[1])


def _samples_from_text(text: str) -> list[tuple[int, int]]:
    pairs = (line.split() for line in text.splitlines())
    return [(int(p[0]), int(p[1])) for p in pairs if len(p) == 2 and p[0].isdigit() and p[1].isdigit()]


def _engine_key(model: bytes, *, options: BuildOptions) -> str:
    return f"{hashlib.sha256(model).hexdigest()[:16]}-{options.precision}-{options.workspace_mb}"


def _step_error(failure: Failure, *, step: str) -> Exception:
    error = failure_error(failure, step=step)
    if failure.kind == "timed_out":
        return RunTimeoutError(error.message, hint=error.hint)
    if failure.kind == "disk_full":
        return DiskFullError(error.message, hint=error.hint)
    return error
