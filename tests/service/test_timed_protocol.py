"""Requests that never end hold no connection for long."""

import socket
import time
from collections.abc import Iterator

import pytest

from nuwa_search.service.api.timed_protocol import TimedProtocol
from tests.support.page_server import PageServer

WHOLE = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
HALF_BODY = b"\r\n".join(
    (
        b"POST /api/v1/searches HTTP/1.1",
        b"host: localhost",
        b"content-type: application/json",
        b"content-length: 90",
        b"",
        b"{",
    )
)


class Impatient(TimedProtocol):
    request_s = 0.4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("served")
    server = PageServer(folder / "nuwa.sqlite", roots=[folder], protocol=Impatient)
    server.start()
    yield server
    server.stop()


def read_to_end(client: socket.socket) -> bytes:
    client.settimeout(10)
    parts = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: loc", HALF_BODY])
def test_half_sent_requests_are_ended(sent: bytes, server: PageServer) -> None:
    clients = [socket.create_connection(server.address) for _ in range(20)]
    try:
        for client in clients:
            client.sendall(sent)
        assert all(read_to_end(client).startswith(b"HTTP/1.1 408 ") for client in clients)
    finally:
        for client in clients:
            client.close()


def test_one_byte_now_and_then_wins_no_time(server: PageServer) -> None:
    begun = time.monotonic()
    with socket.create_connection(server.address) as client:
        for byte in WHOLE[:-1]:
            try:
                client.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the connection stayed open")
    assert time.monotonic() - begun < 0.1 * len(WHOLE)


def test_requests_one_after_another_are_answered(server: PageServer) -> None:
    with socket.create_connection(server.address) as client:
        client.settimeout(10)
        for _ in range(4):  # longer in all than one request may take
            client.sendall(WHOLE[:20])
            time.sleep(0.15)
            client.sendall(WHOLE[20:])
            answer = b""
            while not answer.endswith(b'{"status":"alive"}'):
                answer += client.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 ")
