"""Boards and a coordinator over real sockets: who took part is said, and faults cost accuracy, not the answer."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.assets import board as program
from nuwa_search.deploy.assets.board import Message, pack
from nuwa_search.deploy.collaborate.coordinator import Coordinator
from nuwa_search.deploy.collaborate.layout import Collaboration, read_collaboration
from nuwa_search.deploy.collaborate.probe import Prober
from nuwa_search.deploy.collaborate.wire import load_zmq, read_keys, write_keys
from tests.support.board_threads import BoardThreads
from tests.support.toy_collaboration import BOARDS, LABELS, fitted_fusion, toy_images, toy_vectors

Open = Callable[[], BoardThreads]
Toy = tuple[Path, Collaboration]
PLENTY_MS = 20_000
"""A deadline that no test reaches."""


def test_answers_are_the_fusion_of_what_the_boards_compute(boards: Open) -> None:
    running = boards()
    running.start()
    assert set(running.coordinator.wait(timeout_s=20)) == set(BOARDS)
    images, _ = toy_images(12)
    wanted = fitted_fusion().fuse_all(toy_vectors(images)).argmax(axis=1)
    for in_flight in (1, 4):
        stream = running.coordinator.stream(images, mode="fuse", deadline_ms=PLENTY_MS, in_flight=in_flight)
        answers = list(stream)
        assert [answer.number for answer in answers] == list(range(12))
        assert [answer.class_index for answer in answers] == wanted.tolist()
        for answer in answers:
            assert answer.label == LABELS[answer.class_index or 0]
            assert (answer.boards, answer.missing) == (BOARDS, ())
            assert (answer.bytes_sent, answer.bytes_received) == (4 * 240, 4 * 6 * 4), "N times an image, N d 4"
    one = next(running.coordinator.stream(images, mode="any", deadline_ms=PLENTY_MS))
    assert len(one.parts) >= 2
    routed = next(running.coordinator.stream(images[:1], mode="route", deadline_ms=PLENTY_MS))
    assert routed.bytes_sent in (240, 2 * 240)
    with pytest.raises(NuwaError, match=r"wanted \(8, 10, 3\)"):
        next(running.coordinator.stream([np.zeros((9, 8, 3), np.uint8)]))


def test_a_board_that_goes_is_missed_and_is_taken_back(boards: Open) -> None:
    running = boards()
    running.start()
    running.coordinator.wait(timeout_s=20)
    images, _ = toy_images(4)
    assert running.end("nano-2") == 0
    while "nano-2" in running.coordinator.present:  # until its farewell has come
        next(running.coordinator.stream(images[:1], mode="fuse", deadline_ms=PLENTY_MS))
    answers = list(running.coordinator.stream(images, mode="fuse", deadline_ms=PLENTY_MS))
    assert {answer.boards for answer in answers} == {("nano-1", "nano-3", "nano-4")}
    assert {answer.missing for answer in answers} == {(("nano-2", "away"),)}
    running.start("nano-2")
    assert set(running.coordinator.wait(timeout_s=20)) == set(BOARDS)
    back = next(running.coordinator.stream(images, mode="fuse", deadline_ms=PLENTY_MS))
    assert back.boards == BOARDS


class Mute:
    """A board that says hello and nothing else, played by hand."""

    def __init__(self, running: BoardThreads, name: str, /, **changes: object) -> None:
        self.running, self.told = running, program.BoardServer(running.kits.boards[name], say=running.said.append)
        self.zmq = load_zmq()
        self.context = self.zmq.Context()
        self.socket = self.told.connect(self.zmq, self.context)
        self.hello(**changes)

    def hello(self, **changes: object) -> None:
        self.send(pack(Message(program.HELLO, json.dumps({**json.loads(self.told.hello()), **changes}).encode())))

    def send(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames)

    def heard(self, *, kind: int, greets: bool = False) -> Message:
        """Let the coordinator work until a message of this kind is there; ``greets``: say hello all the while."""
        while True:
            if greets:
                self.hello()
            self.running.coordinator._pump(5)
            if self.socket.poll(5):
                message = program.unpack(self.socket.recv_multipart(), 2**20)
                if message.kind == kind:
                    return message

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()


@pytest.fixture
def mute(boards: Open) -> Any:
    """Three boards that work, and one played by hand."""
    running = boards()
    running.start(*BOARDS[1:])
    played = Mute(running, "nano-1")
    running.coordinator.wait(timeout_s=20)
    yield played
    played.close()


def test_a_late_board_is_waited_for_until_the_deadline_and_then_no_more(mute: Mute) -> None:
    coordinator, (images, _) = mute.running.coordinator, toy_images(3)
    coordinator.away_after_s = 0.0
    late = list(coordinator.stream(images[:2], mode="fuse", deadline_ms=100))
    assert all(("nano-1", "late") in answer.missing for answer in late)
    assert all(answer.latency_ms >= 100 for answer in late)
    away = next(coordinator.stream(images, mode="fuse", deadline_ms=PLENTY_MS))
    assert ("nano-1", "away") in away.missing
    mute.hello()
    coordinator.wait(timeout_s=20)
    assert "nano-1" in coordinator.present


@pytest.mark.parametrize(
    "frames",
    [
        [b"short", b""],
        [b""],
        [program.HEADER.pack(b"NWCB", 5, 1, 0, 0, 0, 0)],
        [program.HEADER.pack(b"NWCB", 77, 1, 0, 0, 0, 0), b""],
        [program.HEADER.pack(b"GET ", 5, 1, 0, 0, 0, 0), b"x"],
        [*pack(Message(program.BYE, b"")), b"more"],
    ],
)
def test_a_malformed_message_is_dropped_and_named(mute: Mute, frames: list[bytes]) -> None:
    coordinator = mute.running.coordinator
    mute.send(frames)
    while not coordinator.num_dropped:
        coordinator._pump(5)
    assert any("dropped: " in text for text in mute.running.said)
    assert "nano-1" in coordinator.present


@pytest.mark.parametrize("payload", [b"", b"\0" * 23, b"\0" * 20, b"\0" * 28, b"\xff" * 24])
def test_what_is_no_vector_is_not_fused(mute: Mute, payload: bytes) -> None:
    """Truncated, too long, or NaN (0xffffffff)."""
    images, _ = toy_images(1)
    stream = mute.running.coordinator.stream(images, mode="fuse", deadline_ms=PLENTY_MS)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(stream))
    thread.start()
    while True:
        message = program.unpack(mute.socket.recv_multipart(), 2**20)
        if message.kind == program.IMAGE:
            break
    mute.send(pack(message._replace(kind=program.VECTOR, payload=payload, part=0)))
    thread.join()
    assert answers[0].missing == (("nano-1", "sent no vector"),)
    assert answers[0].boards == BOARDS[1:]


def test_an_oversize_message_ends_the_connection_that_it_came_on(mute: Mute) -> None:
    coordinator = mute.running.coordinator
    mute.heard(kind=program.WELCOME)
    mute.send(pack(Message(program.VECTOR, bytes(coordinator.max_bytes + 2 * program.ENVELOPE_BYTES))))
    mute.heard(kind=program.WELCOME, greets=True)  # over a new connection, which is greeted anew
    assert coordinator.num_dropped == 0, "it never came so far"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": []}, "does not run part-0 as this collaboration has it"),
        ({"models": [{"part": 0, "sha256": "0" * 64}]}, "does not run part-0"),
        ({"name": "nano-7"}, "there is no board 'nano-7'"),
        ({"name": "nano-2"}, "does not run part-1"),
        ({"is_paced": 1}, "is_paced"),
    ],
)
def test_a_board_with_another_model_or_name_is_refused_by_name(mute: Mute, changes: Any, said: str) -> None:
    mute.heard(kind=program.WELCOME)
    mute.send(pack(Message(program.BYE, b"")))
    other = Mute(mute.running, "nano-1", boot="other", **changes)
    told = other.heard(kind=program.REFUSED).payload.decode()
    other.close()
    assert said in told


def test_a_second_board_of_one_name_is_refused_as_long_as_the_first_is_there(mute: Mute) -> None:
    mute.heard(kind=program.WELCOME)
    other = Mute(mute.running, "nano-1", boot="other")
    assert other.heard(kind=program.REFUSED).payload == b"another nano-1 is connected"
    mute.send(pack(Message(program.BYE, b"")))
    other.heard(kind=program.WELCOME, greets=True)
    other.close()


def test_a_refused_board_ends_with_the_reason(boards: Open) -> None:
    running = boards()
    told = json.loads((running.kits.boards["nano-1"] / "board.json").read_text())
    told["models"] = []
    (running.kits.boards["nano-1"] / "board.json").write_text(json.dumps(told))
    running.start("nano-1")
    _, thread = running.running["nano-1"]
    while thread.is_alive():
        running.coordinator._pump(5)
    assert running.end("nano-1") == 1
    assert any("the coordinator refuses this board: nano-1 does not run part-0" in text for text in running.said)


def test_nobody_there_is_said_with_what_to_start(boards: Open) -> None:
    with pytest.raises(OutsideError, match="no board of nano-1, nano-2"):
        boards().coordinator.wait(timeout_s=0.02)


def test_without_keys_nothing_is_open_to_other_machines(toy: Toy, tmp_path: Path) -> None:
    folder, collaboration = toy
    fusion = read_collaboration(folder)[1]
    for address in ("tcp://0.0.0.0:0", "tcp://*:5577", "tcp://10.0.0.1:5577", "tcp://127.evil.example:1"):
        with pytest.raises(NuwaError, match="no keys were named"):
            Coordinator(collaboration, fusion, address=address)
    with pytest.raises(NuwaError, match="no address to listen at"):
        Coordinator(collaboration, fusion, address="10.0.0.1")
    with pytest.raises(NuwaError, match="the keys know no board"):
        Coordinator(collaboration, fusion, address="tcp://127.0.0.1:0", keys=write_keys(tmp_path, ["nano-1"]))


def test_keys_let_in_their_own_board_and_nobody_else(toy: Toy, tmp_path: Path) -> None:
    folder, collaboration = toy
    keys = write_keys(tmp_path / "keys", BOARDS)
    write_keys(tmp_path / "wrong", BOARDS)
    assert read_keys(tmp_path / "keys") == keys
    assert keys.secret not in repr(keys)
    assert (tmp_path / "keys" / "coordinator" / "keys.json").stat().st_mode & 0o777 == 0o600
    running = BoardThreads(folder, collaboration, tmp_path / "kits")
    running.coordinator.close()
    fusion = read_collaboration(folder)[1]
    running.coordinator = Coordinator(
        collaboration, fusion, address="tcp://127.0.0.1:0", keys=keys, say=running.said.append
    )
    whose = {"nano-1": "keys/nano-1", "nano-2": "wrong/nano-2", "nano-3": "keys/nano-4"}
    for name, place in whose.items():
        path = running.kits.boards[name] / "board.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "coordinator": running.coordinator.address}))
        own = json.loads((tmp_path / place / "keys.json").read_text())  # nano-2 knows the coordinator
        path.with_name("keys.json").write_text(json.dumps({**own, "coordinator_public": keys.public}))
    try:
        running.start(*whose)
        _, stranger = running.running["nano-3"]
        while not running.coordinator.present or not running.coordinator.socket.num_turned_away or stranger.is_alive():
            running.coordinator._pump(5)
        assert running.coordinator.present == ("nano-1",)
        assert any("calls itself 'nano-3' and has the key of 'nano-4'" in text for text in running.said)
        answer = next(running.coordinator.stream(toy_images(1)[0], mode="fuse", deadline_ms=PLENTY_MS))
        assert answer.boards == ("nano-1",)
    finally:
        running.close()


def test_the_largest_block_of_a_probe_passes_with_keys(tmp_path: Path) -> None:
    """An encrypted frame is larger than what it carries, and a limit without that ended the connection."""
    keys = write_keys(tmp_path, ["a"])
    path = tmp_path / "a" / "board.json"
    with Prober(["a"], address="tcp://127.0.0.1:0", keys=keys) as prober:
        told = {"schema": "nuwa.board/1", "name": "a", "coordinator": prober.address, "models": []}
        path.write_text(json.dumps(told))
        board = program.BoardServer(path.parent, say=lambda _: None)
        thread = threading.Thread(target=board.serve)
        thread.start()
        try:
            prober.wait(timeout_s=20)
            most = program.MAX_PING_BYTES
            assert set(prober.exchange(["a"], down=most, up=most)) == {"a"}
        finally:
            board.stop()
            thread.join()
