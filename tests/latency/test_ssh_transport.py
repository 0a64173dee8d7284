"""Transports: one contract for this machine and for a real SSH server, and what only SSH can do wrong."""

import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.transport import ConnectionFailedError, DiskFullError, Transport
from nuwa_search.latency.transport.local import LocalTransport
from nuwa_search.latency.transport.ssh import SshTransport, ssh_address_from_text
from nuwa_search.testing.transport import TransportContract
from tests.support.ssh_board import Cut, SshBoard


@pytest.fixture(params=["local", "ssh"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport = LocalTransport() if request.param == "local" else request.getfixturevalue("board").transport()
    yield made
    made.close()


class TestTransport(TransportContract):
    """The fixture ``transport`` gives one of each."""

    def max_peak_mb(self, transport: Transport) -> float:
        """The server of the SSH case lives in this process and holds the whole output once, as bytes."""
        return 5 if isinstance(transport, LocalTransport) else 50


class TestTrust:
    def test_an_unknown_host_is_refused_with_what_to_type(self, board: SshBoard, tmp_path: Path) -> None:
        for files in ([], [tmp_path / "missing"], [tmp_path / "empty"]):
            (tmp_path / "empty").write_text("")
            transport = board.transport(known_hosts_paths=files)
            with pytest.raises(NuwaError, match=r"host key .* is not known") as caught:
                transport.run(["true"], timeout_s=5)
            transport.close()
            assert caught.value.exit_code == 2
            assert "ssh-keyscan -p" in caught.value.hint
        assert board.commands == []

    def test_a_changed_host_key_is_refused_and_called_changed(self, board: SshBoard) -> None:
        board.trust_host(asyncssh.generate_private_key("ssh-ed25519"))
        transport = board.transport()
        with pytest.raises(NuwaError, match="another than the one known") as caught:
            transport.run(["true"], timeout_s=5)
        transport.close()
        assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in caught.value.hint
        assert board.commands == []

    def test_a_key_the_board_does_not_know_is_refused(self, board: SshBoard, tmp_path: Path) -> None:
        (tmp_path / "other").write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
        transport = board.transport(key_paths=[tmp_path / "other"])
        with pytest.raises(OutsideError, match="none of the keys") as caught:
            transport.run(["true"], timeout_s=5)
        transport.close()
        assert "ssh-copy-id" in caught.value.hint

    def test_a_key_under_a_passphrase_is_sent_to_the_agent(self, board: SshBoard, tmp_path: Path) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        (tmp_path / "locked").write_bytes(key.export_private_key("pkcs8-pem", passphrase="secret"))
        transport = board.transport(key_paths=[tmp_path / "locked"])
        with pytest.raises(NuwaError, match="private key") as caught:
            transport.run(["true"], timeout_s=5)
        transport.close()
        assert "ssh-add" in caught.value.hint
        assert "secret" not in str(caught.value) + caught.value.hint


class TestConnection:
    def test_one_connection_serves_many_calls_and_a_lost_one_is_renewed(self, board: SshBoard) -> None:
        transport = board.transport()
        for _ in range(3):
            transport.run(["true"], timeout_s=5)
        assert len(board.connections) == 1
        board.cuts.append(Cut("sleep", after_s=0.1))
        with pytest.raises(ConnectionFailedError):
            transport.run(["sleep", "5"], timeout_s=10)
        assert transport.run(["echo", "back"], timeout_s=5).stdout == "back\n"
        transport.close()

    def test_a_connection_lost_in_the_middle_is_never_an_answer(self, board: SshBoard) -> None:
        transport = board.transport()
        board.cuts.append(Cut("echo half", after_s=0.2))
        with pytest.raises(ConnectionFailedError):
            transport.run(["sh", "-c", "echo half; sleep 5; echo whole"], timeout_s=10)
        transport.close()

    def test_a_copy_broken_in_the_middle_says_so(self, board: SshBoard, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(bytes(4_000_000))
        board.cut_copies = 1
        transport = board.transport()
        with pytest.raises(ConnectionFailedError):
            transport.put(tmp_path / "big", str(tmp_path / "there"))
        transport.put(tmp_path / "big", str(tmp_path / "there"))
        transport.close()
        assert (tmp_path / "there").stat().st_size == 4_000_000

    def test_a_full_disk_is_called_one(self, board: SshBoard, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(bytes(1000))
        board.is_disk_full = True
        transport = board.transport()
        with pytest.raises(DiskFullError, match="no space"):
            transport.put(tmp_path / "big", str(tmp_path / "there"))
        transport.close()

    def test_a_board_that_is_off_is_an_answer_within_the_limit(self, board: SshBoard) -> None:
        transport = SshTransport(
            ssh_address_from_text("nano@127.0.0.1:1"),
            known_hosts_paths=[board.root / "keys" / "known_hosts"],
            config_paths=[],
            connect_timeout_s=2.0,
        )
        started = time.monotonic()
        with pytest.raises(ConnectionFailedError, match=r"no connection to nano@127\.0\.0\.1:1"):
            transport.run(["true"], timeout_s=1)
        transport.close()
        assert time.monotonic() - started < 30  # a try may take two seconds; the rest is for busy machines


@pytest.mark.parametrize(
    ("text", "host", "user", "port"),
    [
        ("nano", "nano", None, None),
        ("me@nano.local", "nano.local", "me", None),
        ("me@10.0.0.2:2222", "10.0.0.2", "me", 2222),
        ("ssh://me@nano:22", "nano", "me", 22),
        ("me@[fe80::1]:22", "fe80::1", "me", 22),
    ],
)
def test_addresses(text: str, host: str, user: str | None, port: int | None) -> None:
    address = ssh_address_from_text(text)
    assert (address.host, address.user, address.port) == (host, user, port)


@pytest.mark.parametrize("text", ["", "a b", "me@", "me@host:port", "-oProxyCommand=x", "me@-x", "me:secret@nano"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(NuwaError) as caught:
        ssh_address_from_text(text)
    assert "secret" not in caught.value.hint
