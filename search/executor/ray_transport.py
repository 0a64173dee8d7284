"""The way to a board through the Ray node that reaches it: commands and files pass through an actor there.

Engines, guards and leases stay with who searches: to them it is one more transport.
"""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from nuwa_search.core.errors import OutsideError
from nuwa_search.core.transport import CommandResult, ConnectionFailedError, Transport
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.program import Program, require_same, this_program
from nuwa_search.search.executor.ray_cluster import Cluster, first_line, value_of

PLACE_SHARE = 0.001
"""Of the resource ``board:NAME``: Ray chooses the node by it, and who may use the board is said by its lease."""
CHUNK_BYTES = 2**20
"""Of a file that passes between the machines at once."""


class RayTransport:
    """A ``nuwa_search.core.transport.Transport`` through a node of a cluster.

    Args:
        cluster: Connected.
        board: Name of the device; a node declares it as ``board:NAME``.
        address: Of the board, as that node reaches it.
        make: Makes the transport there; can be pickled.
    """

    def __init__(self, cluster: Cluster, *, board: str, address: str, make: Callable[[], Transport]) -> None:
        self._cluster, self._make = cluster, make
        self._needs = Needs(f"reaching {board}", cpus=0, board=board)
        self._address = address
        self._actor: Any = None

    @property
    def address(self) -> str:
        return self._address

    def run(self, argv: Sequence[str], *, timeout_s: float, output_path: Path | None = None) -> CommandResult:
        result: CommandResult
        if output_path is None:
            result = self._ask("run", tuple(argv), timeout_s)
            return result
        result, name = self._ask("run_to_file", tuple(argv), timeout_s)
        self._fetch(name, output_path)
        return result

    def put(self, local: Path, remote: str) -> None:
        name = self._ask("new_file")
        try:
            with local.open("rb") as file:
                while part := file.read(CHUNK_BYTES):
                    self._ask("write", name, part)
        except OSError as error:
            raise OutsideError(f"cannot copy {local} to {self._address}: {error}") from error
        self._ask("put", name, remote)

    def get(self, remote: str, local: Path) -> None:
        self._fetch(self._ask("get", remote), local)

    def make_dir(self, remote: str) -> None:
        self._ask("make_dir", remote)

    def remove(self, remote: str) -> None:
        self._ask("remove", remote)

    def free_disk_mb(self, remote: str) -> float:
        return float(self._ask("free_disk_mb", remote))

    def close(self) -> None:
        if self._actor is None:
            return
        with contextlib.suppress(ConnectionFailedError):
            self._ask("close")
        with contextlib.suppress(RayError):
            ray.kill(self._actor)
        self._actor = None

    def _fetch(self, name: str, local: Path) -> None:
        try:
            with local.open("wb") as file:
                offset = 0
                while part := self._ask("read", name, offset):
                    file.write(part)
                    offset += len(part)
        except OSError as error:
            raise OutsideError(f"cannot copy from {self._address} to {local}: {error}") from error
        self._ask("drop", name)

    def _ask(self, method: str, *values: object) -> Any:
        if self._actor is None:
            self._cluster.require_able(self._needs)
            options = {"num_cpus": 0, "resources": {self._needs.places[0]: PLACE_SHARE}, "max_restarts": 0}
            self._actor = ray.remote(Bridge).options(**options).remote(this_program(), self._make)
        try:
            return value_of(getattr(self._actor, method).remote(*values), what=self._needs.what)
        except RayActorError as error:
            self._actor = None
            raise ConnectionFailedError(
                f"the node of the Ray cluster that reaches {self._address} is gone: {first_line(error)}",
                hint="ray status",
            ) from error


def ssh_transport(address: str) -> Transport:
    """Make the way to a board over SSH, on the node that reaches it."""
    from nuwa_search.latency.transport.ssh import SshTransport, ssh_address_from_text

    return SshTransport(ssh_address_from_text(address))


class Bridge:
    """The transport on the node that reaches the board, and files on their way through.

    Args:
        program: Whom it is for.
        make: Makes the transport.
    """

    def __init__(self, program: Program, make: Callable[[], Transport]) -> None:
        require_same(program, this_program(), node=ray.util.get_node_ip_address())
        self._transport = make()
        self._folder = tempfile.TemporaryDirectory(prefix="nuwa-bridge-")
        self._count = 0

    def run(self, argv: Sequence[str], timeout_s: float) -> CommandResult:
        return self._transport.run(argv, timeout_s=timeout_s)

    def run_to_file(self, argv: Sequence[str], timeout_s: float) -> tuple[CommandResult, str]:
        name = self.new_file()
        return self._transport.run(argv, timeout_s=timeout_s, output_path=Path(name)), name

    def new_file(self) -> str:
        self._count += 1
        path = Path(self._folder.name) / str(self._count)
        path.touch()
        return str(path)

    def write(self, name: str, part: bytes) -> None:
        with Path(name).open("ab") as file:
            file.write(part)

    def read(self, name: str, offset: int) -> bytes:
        with Path(name).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)

    def drop(self, name: str) -> None:
        Path(name).unlink(missing_ok=True)

    def put(self, name: str, remote: str) -> None:
        self._transport.put(Path(name), remote)
        self.drop(name)

    def get(self, remote: str) -> str:
        name = self.new_file()
        self._transport.get(remote, Path(name))
        return name

    def make_dir(self, remote: str) -> None:
        self._transport.make_dir(remote)

    def remove(self, remote: str) -> None:
        self._transport.remove(remote)

    def free_disk_mb(self, remote: str) -> float:
        return self._transport.free_disk_mb(remote)

    def close(self) -> None:
        self._transport.close()
        self._folder.cleanup()
