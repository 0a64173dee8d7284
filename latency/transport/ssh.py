"""A board over SSH: keys only, host key always checked, one connection kept and renewed."""

import asyncio
import contextlib
import re
import shlex
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import home_folder
from nuwa_search.core.transport import CommandResult, CommandTimeoutError, ConnectionFailedError, DiskFullError
from nuwa_search.latency.transport.loop_thread import LoopThread

if TYPE_CHECKING:  # the library is an extra, loaded by the first connection
    import asyncssh

T = TypeVar("T")

_COPY_TIMEOUT_S = 600.0  # 500 MB at 1 MB/s, the slowest wireless link worth waiting for
_SHORT_TIMEOUT_S = 60.0
_NEARLY_FULL_MB = 1.0  # a failed copy onto a disk with less than this left failed for want of room
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


@dataclass(frozen=True)
class SshAddress:
    """Where a board is.

    Args:
        host: Name, address, or alias from ``~/.ssh/config``.
        user: Login name; None takes it from the configuration.
        port: TCP port; None takes it from the configuration.
    """

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.host}" + (f":{self.port}" if self.port else "")


def ssh_address_from_text(text: str) -> SshAddress:
    """Read ``[user@]host[:port]``.

    Raises:
        NuwaError: If it is of another form, or carries a password.
    """
    match = re.fullmatch(r"(?:ssh://)?(?:([^@\s/]+)@)?(\[[0-9a-fA-F:]+\]|[^@:\s/\[\]]+)(?::(\d+))?", text.strip())
    if match is None:
        raise NuwaError(f"not an SSH address: {text!r}", hint="write it like user@host or user@host:2222")
    user, host, port = match[1], match[2].strip("[]"), match[3]
    if host.startswith("-"):
        raise NuwaError(f"not an SSH address: {text!r}", hint="a host name does not begin with a hyphen")
    if user is not None and ":" in user:
        raise NuwaError(
            "passwords are never taken in an SSH address", hint=f"use a key: ssh-copy-id {user.split(':')[0]}@{host}"
        )
    return SshAddress(host=host, user=user, port=int(port) if port else None)


class SshTransport:
    """Commands over SSH and copies over SFTP.

    Authentication is by key or agent alone. The host key must be known beforehand; one that is
    unknown or has changed is refused, never learnt.

    Args:
        address: Where the board is.
        key_paths: Private keys to use; empty takes the agent and the default keys.
        known_hosts_paths: Files with known host keys; None takes the user's and the system's.
        config_paths: OpenSSH client configurations; None takes ``~/.ssh/config``.
        connect_timeout_s: Seconds to connect and log in.
        keepalive_s: Seconds of silence after which the board is asked whether it is there; after
            three unanswered questions the connection counts as lost.
    """

    def __init__(
        self,
        address: SshAddress,
        *,
        key_paths: Sequence[Path] = (),
        known_hosts_paths: Sequence[Path] | None = None,
        config_paths: Sequence[Path] | None = None,
        connect_timeout_s: float = 20.0,
        keepalive_s: float = 10.0,
    ) -> None:
        self._address = address
        self._key_paths = tuple(key_paths)
        self._known_hosts_paths = known_hosts_paths
        self._config_paths = config_paths
        self._connect_timeout_s = connect_timeout_s
        self._keepalive_s = keepalive_s
        self._loop = LoopThread(f"ssh {address}")
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def address(self) -> str:
        return str(self._address)

    def run(self, argv: Sequence[str], *, timeout_s: float, output_path: Path | None = None) -> CommandResult:
        """Run a command; see ``nuwa_search.core.transport.Transport``."""
        work = self._run(shlex.join(argv), timeout_s=timeout_s, output_path=output_path)
        return self._call(work, timeout_s=timeout_s + _SHORT_TIMEOUT_S)

    def put(self, local: Path, remote: str) -> None:
        """Copy a file there; see ``nuwa_search.core.transport.Transport``."""
        try:
            self._call(self._put(local, remote), timeout_s=_COPY_TIMEOUT_S)
        except _CopyFailedError as error:
            folder = remote.rsplit("/", 1)[0] or "/"
            if error.is_disk_full or self.free_disk_mb(folder) < _NEARLY_FULL_MB:
                raise DiskFullError(
                    f"no space left on {self.address} to copy {local.name}",
                    hint=f"free disk space there: ssh {self.address} df -h",
                ) from error
            raise OutsideError(f"cannot copy {local.name} to {self.address}:{remote}: {error}") from error

    def get(self, remote: str, local: Path) -> None:
        """Copy a file here; see ``nuwa_search.core.transport.Transport``."""
        try:
            self._call(self._get(remote, local), timeout_s=_COPY_TIMEOUT_S)
        except _CopyFailedError as error:
            raise OutsideError(f"cannot copy {self.address}:{remote} here: {error}") from error

    def make_dir(self, remote: str) -> None:
        self._must(["mkdir", "-p", "-m", "700", "--", remote])

    def remove(self, remote: str) -> None:
        self._must(["rm", "-rf", "--", remote])

    def free_disk_mb(self, remote: str) -> float:
        answer = self._must(["df", "-Pk", "--", remote])  # POSIX form: one line, in KiB
        fields = answer.stdout.splitlines()[-1].split()
        if len(fields) < 4 or not fields[3].isdigit():
            raise OutsideError(f"cannot read the free space of {self.address}: {answer.stdout!r}")
        return int(fields[3]) / 1024

    def close(self) -> None:
        """Disconnect and end the thread behind it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                self._loop.call(_close(connection), timeout_s=5.0)
            except TimeoutError:
                connection.abort()
        self._loop.stop()

    def _must(self, argv: Sequence[str]) -> CommandResult:
        result = self.run(argv, timeout_s=_SHORT_TIMEOUT_S)
        if result.returncode:
            raise OutsideError(f"{argv[0]} failed on {self.address}: {result.output.strip()}")
        return result

    def _call(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T:
        import asyncssh

        try:
            return self._loop.call(work, timeout_s=timeout_s + self._connect_timeout_s)
        except (asyncssh.HostKeyNotVerifiable, asyncssh.PermissionDenied, asyncssh.KeyImportError) as error:
            raise self._refused(error) from error
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError) as error:
            raise self._lost(str(error)) from error
        except asyncssh.SFTPError as error:
            raise _CopyFailedError(error.reason or str(error)) from error
        except (asyncssh.ChannelOpenError, OSError) as error:  # TimeoutError is an OSError
            raise self._lost(str(error) or "no answer in time") from error

    async def _connected(self) -> "asyncssh.SSHClientConnection":
        import asyncssh

        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        options: dict[str, Any] = {
            "known_hosts": self._known_hosts(),
            "password_auth": False,
            "kbdint_auth": False,
            "host_based_auth": False,
            "gss_auth": False,
            "gss_kex": False,
            "connect_timeout": self._connect_timeout_s,
            "login_timeout": self._connect_timeout_s,
            "keepalive_interval": self._keepalive_s,
            "keepalive_count_max": 3,
        }
        if self._address.user is not None:
            options["username"] = self._address.user
        if self._address.port is not None:
            options["port"] = self._address.port
        if self._key_paths:
            options["client_keys"] = [str(path) for path in self._key_paths]
        if self._config_paths is not None:
            options["config"] = [str(path) for path in self._config_paths]
        self._connection = await asyncssh.connect(self._address.host, **options)
        return self._connection

    async def _run(self, command: str, *, timeout_s: float, output_path: Path | None) -> CommandResult:
        import asyncssh

        connection = await self._connected()
        target = asyncssh.PIPE if output_path is None else str(output_path)
        process = await connection.create_process(command, stdin=asyncssh.DEVNULL, stdout=target, errors="replace")
        try:
            done = await asyncio.wait_for(process.wait(check=False), timeout_s)
        except TimeoutError as error:
            process.kill()  # OpenSSH before 7.9 ignores this: what must end there runs under `timeout`
            program = command.split()[0]
            raise CommandTimeoutError(
                f"{program} did not answer on {self.address} within {timeout_s:.0f} s",
                hint=f"see whether the board hangs: ssh {self._ssh_target()} uptime",
            ) from error
        finally:
            process.close()
        if done.exit_signal is not None:
            code = 128 + _SIGNALS.get(str(done.exit_signal[0]), 0)
        elif done.exit_status is None:
            raise self._lost("the connection broke while a command ran")
        else:
            code = done.exit_status
        return CommandResult(code, str(done.stdout or ""), str(done.stderr or ""))

    async def _put(self, local: Path, remote: str) -> None:
        connection = await self._connected()
        with _local_errors():
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(local), remote)

    async def _get(self, remote: str, local: Path) -> None:
        connection = await self._connected()
        with _local_errors():
            async with connection.start_sftp_client() as sftp:
                await sftp.get(remote, str(local))

    def _known_hosts(self) -> list[str]:
        paths = self._known_hosts_paths
        if paths is None:
            home = home_folder()
            own = () if home is None else (home / ".ssh" / "known_hosts",)
            paths = (*own, _SYSTEM_KNOWN_HOSTS)
        # An empty list would let the library look elsewhere or, by configuration, not check at all.
        existing = [str(path) for path in paths if path.is_file()]
        if not existing:
            raise self._unknown_host()
        return existing

    def _refused(self, error: Exception) -> NuwaError:
        import asyncssh

        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return self._changed_host() if self._has_known_key() else self._unknown_host()
        if isinstance(error, asyncssh.KeyImportError):
            return NuwaError(
                f"a private key for {self.address} cannot be read: {error}",
                hint="give it to the agent, which asks for its passphrase: ssh-add PATH",
            )
        return OutsideError(
            f"{self.address} accepts none of the keys offered (passwords are not used)",
            hint=f"install a key there: ssh-copy-id {self._ssh_target()}",
        )

    def _has_known_key(self) -> bool:
        import asyncssh

        port = self._address.port if self._address.port not in (None, 22) else None
        known = asyncssh.read_known_hosts(self._known_hosts())
        return any(known.match(self._address.host, "", port)[0])

    def _unknown_host(self) -> NuwaError:
        port = f"-p {self._address.port} " if self._address.port else ""
        return NuwaError(
            f"the host key of {self.address} is not known, so it is not trusted",
            hint=f"run `ssh {self._ssh_target()}` once and compare the fingerprint with the board's own, "
            f"or `ssh-keyscan {port}{self._address.host} >> ~/.ssh/known_hosts` on a network you trust",
        )

    def _changed_host(self) -> NuwaError:
        port = self._address.port
        name = f"[{self._address.host}]:{port}" if port and port != 22 else self._address.host
        return NuwaError(
            f"the host key of {self.address} is another than the one known: a new system, or somebody in between",
            hint=f"if the board was installed anew: ssh-keygen -R '{name}', then `ssh {self._ssh_target()}` once",
        )

    def _ssh_target(self) -> str:
        port = f"-p {self._address.port} " if self._address.port else ""
        return port + (f"{self._address.user}@" if self._address.user else "") + self._address.host

    def _lost(self, reason: str) -> ConnectionFailedError:
        return ConnectionFailedError(
            f"no connection to {self.address}: {reason}", hint=f"check it with: ssh {self._ssh_target()} true"
        )


class _CopyFailedError(Exception):
    """The SFTP server refused; protocol version 3 has no code for a full disk."""

    @property
    def is_disk_full(self) -> bool:
        return bool(re.search(r"no space left|quota", str(self), re.IGNORECASE))


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    """Distinguish errors of the file on this side from a connection that broke; both are OSErrors."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise _CopyFailedError(str(error)) from error


_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "SEGV": 11, "PIPE": 13, "TERM": 15}


async def _close(connection: "asyncssh.SSHClientConnection") -> None:
    connection.close()
    await connection.wait_closed()
