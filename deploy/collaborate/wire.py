"""Addresses, keys and the coordinator's socket."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core import checked
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.assets.board import ENVELOPE_BYTES, HEARTBEAT_MS, SILENT_MS, is_loopback
from nuwa_search.deploy.collaborate.network import board_name

KEYS = "keys.json"
PORT = 5577
"""Assigned to nobody in IANA's registry as Debian's /etc/services has it; only a default."""
SCHEMA = "nuwa.collaborate-keys/1"
_KEY_LENGTH = 40
"""Characters of a CURVE key in Z85 (ZeroMQ RFC 32)."""
_HINT = "nuwa collaborate up writes a folder with keys for the coordinator and each board"


@dataclass(frozen=True)
class Keys:
    """The coordinator's keys, and the boards that it lets in.

    Args:
        public: Public key, in Z85.
        secret: Secret key, in Z85; never printed.
        boards: Public key of each board.
    """

    public: str
    secret: str
    boards: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Keys(public={self.public!r}, boards={list(self.boards)})"


def load_zmq() -> Any:
    """Import pyzmq.

    Raises:
        NuwaError: If it is not installed.
    """
    try:
        import zmq
        import zmq.auth
        import zmq.auth.thread
    except ImportError as error:
        raise NuwaError("boards are spoken to through pyzmq, which is not installed", hint=_INSTALL) from error
    return zmq


_INSTALL = "pip install 'nuwa-search[collaborate]'"


def write_keys(folder: Path, boards: Sequence[str]) -> Keys:
    """Make keys for a coordinator and its boards; each party gets its own ``folder/PARTY/keys.json``, mode 600."""
    zmq = load_zmq()
    public, secret = (key.decode() for key in zmq.curve_keypair())
    pairs = {board: tuple(key.decode() for key in zmq.curve_keypair()) for board in boards}
    keys = Keys(public, secret, {board: pair[0] for board, pair in pairs.items()})
    told = {"schema": SCHEMA, "public": public, "secret": secret, "boards": dict(keys.boards)}
    _write_private(folder / "coordinator" / KEYS, told)
    for board, pair in pairs.items():
        own = {"public": pair[0], "secret": pair[1], "coordinator_public": public}
        _write_private(folder / board / KEYS, own)
    return keys


def _write_private(path: Path, values: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(values, indent=1) + "\n")


def read_keys(path: Path) -> Keys:
    """Read the coordinator's keys, from ``keys.json`` or the folder that holds it.

    Raises:
        NuwaError: If the file is missing or holds no such keys.
    """
    file = path
    if path.is_dir():
        file = path / KEYS if (path / KEYS).exists() else path / "coordinator" / KEYS
    values = read_object(file, what="keys", hint=_HINT)
    where = f"keys {file}"
    checked.one_of(values.get("schema"), f"schema of {where}", [SCHEMA])
    boards = checked.mapping(checked.field(values, "boards", where=where), f"boards of {where}")
    named = {
        board_name(name, f"board in {where}"): _key(key, f"{where}: key of a board") for name, key in boards.items()
    }
    return Keys(_key(values.get("public"), f"{where}: public"), _key(values.get("secret"), f"{where}: secret"), named)


def _key(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) != _KEY_LENGTH or not value.isascii() or not value.isprintable():
        raise NuwaError(f"{name} is no key of {_KEY_LENGTH} characters", hint=_HINT)
    return value


def check_address(address: str, *, has_keys: bool) -> str:
    """Check that a coordinator may listen at an address, and return it.

    Raises:
        NuwaError: If it is none, or is open to other machines and there are no keys.
    """
    scheme, _, rest = address.partition("://")
    is_tcp = scheme == "tcp" and rest.rpartition(":")[2].isdigit() and bool(rest.rpartition(":")[0])
    if not (is_tcp or (scheme in ("ipc", "inproc") and rest)):
        raise NuwaError(
            f"{checked.shown(address)} is no address to listen at", hint=f"wanted such as tcp://10.0.0.1:{PORT}"
        )
    if not is_loopback(address) and not has_keys:
        raise NuwaError(
            f"{address} can be reached by other machines, and no keys were named", hint=f"{_HINT}: --keys DIR"
        )
    return address


class _LetIn:
    """Who may connect: pyzmq asks for every client's key."""

    def __init__(self, keys: Keys) -> None:
        self.known = {key.encode() for key in keys.boards.values()}
        self.num_turned_away = 0

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002  # as pyzmq calls it
        is_known = key in self.known
        self.num_turned_away += not is_known
        return is_known


class CoordinatorSocket:
    """A bound ROUTER socket that only boards with keys of ours get through to.

    ``send_to`` says at once that a board is no longer connected; what is larger than ``max_bytes`` ends the connection
    it came on.
    """

    def __init__(self, address: str, *, keys: Keys | None, max_bytes: int) -> None:
        self.zmq = load_zmq()
        self.context = self.zmq.Context()
        self.guard: Any = None
        self.let_in = None if keys is None else _LetIn(keys)
        self.names = {} if keys is None else {key: board for board, key in keys.boards.items()}
        self.socket = self.context.socket(self.zmq.ROUTER)
        try:
            self._open(address, keys, max_bytes)
        except self.zmq.ZMQError as error:
            self.close()
            raise OutsideError(
                f"cannot listen at {address}: {error}", hint="another program may: name a free port"
            ) from error

    def _open(self, address: str, keys: Keys | None, max_bytes: int) -> None:
        zmq, socket = self.zmq, self.socket
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes + ENVELOPE_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENT_MS)
        socket.setsockopt(zmq.LINGER, 200)
        if keys is not None:
            self.guard = zmq.auth.thread.ThreadAuthenticator(self.context)
            self.guard.start()
            self.guard.configure_curve_callback(domain="*", credentials_provider=self.let_in)
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        socket.bind(address)

    @property
    def address(self) -> str:
        """Where it listens; a port of 0 has become one by then."""
        return str(self.socket.getsockopt(self.zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

    @property
    def num_turned_away(self) -> int:
        """Connections with keys that are not known."""
        return 0 if self.let_in is None else self.let_in.num_turned_away

    def receive(self, timeout_ms: float) -> tuple[bytes, list[bytes], str | None] | None:
        """Wait for one message: whose it is on the wire, its frames, and the board that its key belongs to."""
        if not self.socket.poll(max(0, int(timeout_ms + 0.999))):
            return None
        frames = self.socket.recv_multipart(copy=False)
        key: str | None = None
        if self.names:
            key = self.names.get(str(frames[-1].get("User-Id")), "")
        content: list[bytes] = [frame.bytes for frame in frames]
        return content[0], content[1:], key

    def send_to(self, peer: bytes, frames: Sequence[bytes]) -> bool:
        """Send to one board; False where it is gone or takes no more."""
        try:
            self.socket.send_multipart([peer, *frames], self.zmq.NOBLOCK)
        except self.zmq.ZMQError:  # EHOSTUNREACH, or EAGAIN at the high-water mark
            return False
        return True

    def close(self) -> None:
        if self.guard is not None:
            self.guard.stop()
        self.socket.close()
        self.context.term()
