"""This machine as a board: for running on the board itself, and inside its container."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.errors import OutsideError
from nuwa_search.core.peak_memory import BYTES_PER_MB
from nuwa_search.core.transport import CommandResult, CommandTimeoutError, DiskFullError

_ENOSPC = 28


class LocalTransport:
    """Commands and copies on this machine."""

    @property
    def address(self) -> str:
        return "localhost"

    def run(self, argv: Sequence[str], *, timeout_s: float, output_path: Path | None = None) -> CommandResult:
        """Run a command; see ``nuwa_search.core.transport.Transport``."""
        try:
            with contextlib.ExitStack() as opened:
                target = subprocess.PIPE if output_path is None else opened.enter_context(output_path.open("wb"))
                done = subprocess.run(
                    list(argv),
                    stdout=target,
                    stderr=subprocess.PIPE,
                    timeout=timeout_s,
                    check=False,
                    encoding="utf-8",
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                )
        except subprocess.TimeoutExpired as error:
            raise CommandTimeoutError(f"{argv[0]} took longer than {timeout_s:.0f} s here") from error
        except FileNotFoundError:
            return CommandResult(127, "", f"{argv[0]}: command not found")  # as a shell says it
        except PermissionError:
            return CommandResult(126, "", f"{argv[0]}: permission denied")
        code = done.returncode if done.returncode >= 0 else 128 + signal.Signals(-done.returncode).value
        return CommandResult(code, done.stdout or "", done.stderr)

    def put(self, local: Path, remote: str) -> None:
        _copy(local, Path(remote))

    def get(self, remote: str, local: Path) -> None:
        _copy(Path(remote), local)

    def make_dir(self, remote: str) -> None:
        Path(remote).mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self, remote: str) -> None:
        path = Path(remote)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def free_disk_mb(self, remote: str) -> float:
        try:
            return shutil.disk_usage(remote).free / BYTES_PER_MB
        except OSError as error:
            raise OutsideError(f"cannot read the free space at {remote}: {error}") from error

    def close(self) -> None:
        """Do nothing: there is no connection to close."""


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno == _ENOSPC:
            raise DiskFullError(f"no space left to copy {source.name}", hint="free disk space here") from error
        raise OutsideError(f"cannot copy {source} to {target}: {error.strerror}") from error
