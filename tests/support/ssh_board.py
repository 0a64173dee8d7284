"""A real SSH server in this process that plays a board: its own tools, files and faults."""

import asyncio
import contextlib
import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import onnxruntime

from nuwa_search.latency.transport.ssh import SshAddress, SshTransport
from tests.support import trtexec_standin

T = TypeVar("T")

PACKAGES = str(Path(onnxruntime.__file__).parent.parent)

TOOLS = {
    "nvpmodel": 'echo "NV Power Mode: $(cat "$BOARD_ROOT/power_mode")"; echo 0',
    "sudo": '[ -e "$BOARD_ROOT/may_sudo" ] || { echo "sudo: a password is required" >&2; exit 1; }; shift; exec "$@"',
    "jetson_clocks": 'd=$BOARD_ROOT/sysroot/sys/devices/gpu.0/devfreq/57000000.gpu; cp "$d/max_freq" "$d/min_freq"; '
    'cp "$d/max_freq" "$d/cur_freq"',
    "pgrep": 'n=$(cat "$BOARD_ROOT/busy" 2>/dev/null || echo 0); echo "$n"; [ "$n" -gt 0 ]',
}

FILES = {
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3450-0000\0nvidia,tegra210\0",
    "proc/sys/kernel/random/boot_id": "1f7b0f3e-0000\n",
    "proc/meminfo": "MemTotal:        4059264 kB\nMemAvailable:    3000000 kB\n",
    "proc/loadavg": "0.10 0.20 0.30 1/300 4000\n",
    "sys/devices/gpu.0/devfreq/57000000.gpu/min_freq": "921600000\n",
    "sys/devices/gpu.0/devfreq/57000000.gpu/max_freq": "921600000\n",
    "sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq": "921600000\n",
    "sys/devices/system/cpu/online": "0-3\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "1479000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1479000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/class/thermal/thermal_zone0/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "38500\n",
    "sys/class/thermal/thermal_zone1/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone1/temp": "100000\n",
}


@dataclass
class Cut:
    """Break the connection at a command that matches, so many times."""

    pattern: str
    times: int = 1
    after_s: float | None = None  # None: before the command starts
    then: str = ""  # shell line that the board runs on its own, such as what a reboot leaves


@dataclass
class SshBoard:
    """Folder, server and levers of one board."""

    root: Path
    version: str = "8.2.1"
    build_s: float = 184.708  # what the board's clock says of every engine build
    listens_on: int = 0  # a port of its own choice for 0
    port: int = 0
    commands: list[str] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    cut_copies: int = 0  # copies onto the board that break in the middle
    is_disk_full: bool = False
    is_refusing: bool = False
    children: set[int] = field(default_factory=set)
    running: "set[asyncio.Task[tuple[int, bytes, bytes]]]" = field(default_factory=set)
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)

    @property
    def sysroot(self) -> str:
        return str(self.root / "sysroot")

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def trtexec(self) -> Path:
        return self.root / "bin" / "trtexec"

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root / 'bin'}:/usr/bin:/bin",
            "TMPDIR": str(self.tmp),
            "BOARD_ROOT": str(self.root),
            "STANDIN_VERSION": self.version,
            "STANDIN_FAULTS": str(self.root / "faults"),
            "STANDIN_BUILD_S": f"{self.build_s:g}",
            "STANDIN_PACKAGES": PACKAGES,
            "HOME": str(self.root / "home"),
        }

    def install(self) -> None:
        for name in ("bin", "tmp", "faults", "keys", "home"):
            (self.root / name).mkdir(exist_ok=True)
        for name, line in TOOLS.items():
            write_tool(self.root / "bin" / name, f"#!/bin/sh\n{line}\n")
        # Named like the real one, so that its process is, too.
        script = Path(trtexec_standin.__file__)
        write_tool(self.trtexec, f'#!/bin/sh\nexec "{sys.executable}" -S -E "{script}" "$@"\n')
        for name, text in FILES.items():
            self.set_file(name, text)
        (self.root / "power_mode").write_text("MAXN\n")

    def set_file(self, name: str, text: str) -> None:
        path = self.root / "sysroot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def fault(self, name: str, times: int | None = None) -> None:
        (self.root / "faults" / name).write_text("" if times is None else str(times))

    def kept(self) -> list[str]:
        """Engines that outlive a stay, by name."""
        return sorted(path.name for path in (self.root / "home").rglob("*.engine"))

    def leftovers(self) -> list[str]:
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*"))

    def num_commands(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, command)) for command in self.commands)

    def transport(self, **changes: Any) -> SshTransport:
        options: dict[str, Any] = {
            "key_paths": [self.root / "keys" / "client"],
            "known_hosts_paths": [self.root / "keys" / "known_hosts"],
            "config_paths": [],
            "connect_timeout_s": 5.0,
        }
        return SshTransport(SshAddress("127.0.0.1", "nano", self.port), **{**options, **changes})

    def trust_host(self, key: asyncssh.SSHKey) -> None:
        line = f"[127.0.0.1]:{self.port} {key.export_public_key().decode()}"
        (self.root / "keys" / "known_hosts").write_text(line)

    # Called on the server's loop.

    async def handle(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        command = process.command or ""
        self.commands.append(command)
        cut = next((c for c in self.cuts if c.times > 0 and re.search(c.pattern, command)), None)
        if cut is not None:
            cut.times -= 1
            if cut.after_s is None:
                await self.drop(cut)
                return
        # A task of its own: the board goes on when the connection, and with it this handler, is gone.
        running = asyncio.create_task(self.execute(command))
        self.running.add(running)
        running.add_done_callback(self.running.discard)
        if cut is not None and cut.after_s is not None:
            await asyncio.sleep(cut.after_s)
            await self.drop(cut)
            return
        code, out, err = await asyncio.shield(running)
        with contextlib.suppress(OSError, asyncssh.Error):
            process.stdout.write(out)
            process.stderr.write(err)
            if code < 0:
                process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                process.exit(code)

    async def execute(self, command: str) -> tuple[int, bytes, bytes]:
        child = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env,
            cwd=self.root,
            start_new_session=True,
        )
        self.children.add(child.pid)
        out, err = await child.communicate()
        self.children.discard(child.pid)
        return child.returncode or 0, out, err

    async def drop(self, cut: Cut) -> None:
        if cut.then:
            await (await asyncio.create_subprocess_shell(cut.then, env=self.env, cwd=self.root)).wait()
        for connection in list(self.connections):
            connection.abort()


def trust_as_user(board: SshBoard) -> None:
    """Let this user's own SSH settings reach the board, as `ssh-copy-id` and a first `ssh` would."""
    trust_in(Path.home(), board)


def trust_in(home: Path, board: SshBoard) -> None:
    """The same for the SSH settings of a home folder."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "id_ed25519").write_bytes((board.root / "keys" / "client").read_bytes())
    (folder / "id_ed25519").chmod(0o600)
    (folder / "known_hosts").write_text((board.root / "keys" / "known_hosts").read_text())


def write_tool(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@contextlib.contextmanager
def serve_board(board: SshBoard) -> Iterator[SshBoard]:
    """Run the server in a thread until the block ends, then end what it started."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="board")
    thread.start()

    def on_loop(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    host_key = asyncssh.generate_private_key("ssh-ed25519")
    client_key = asyncssh.generate_private_key("ssh-ed25519")
    keys = board.root / "keys"
    (keys / "client").write_bytes(client_key.export_private_key())
    (keys / "client").chmod(0o600)
    (keys / "authorized").write_bytes(client_key.export_public_key())
    server = on_loop(_listen(board, host_key, keys / "authorized"))
    board.port = server.get_port()
    board.trust_host(host_key)
    try:
        yield board
    finally:
        on_loop(_end(board, server))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(board: SshBoard, host_key: asyncssh.SSHKey, authorized: Path) -> asyncssh.SSHAcceptor:
    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.connection = conn
            board.connections.add(conn)
            if board.is_refusing:
                conn.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            board.connections.discard(self.connection)

    class Sftp(asyncssh.SFTPServer):
        def write(self, file_obj: object, offset: int, data: bytes) -> int | Awaitable[int]:
            if board.is_disk_full:
                raise OSError(28, os.strerror(28))
            if board.cut_copies > 0:
                board.cut_copies -= 1
                for connection in list(board.connections):
                    connection.abort()
            return super().write(file_obj, offset, data)

    return await asyncssh.listen(
        "127.0.0.1",
        board.listens_on,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=str(authorized),
        process_factory=board.handle,
        sftp_factory=Sftp,
        encoding=None,
    )


async def _end(board: SshBoard, server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()
    for connection in list(board.connections):
        connection.abort()
    # The shells became `timeout`, which leads a process group of its own.
    for pid in list(board.children):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    if board.running:
        await asyncio.wait(board.running, timeout=5)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=5)
