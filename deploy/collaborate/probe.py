"""Measure the network between a coordinator and its boards, with the messages that images and vectors travel in."""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from nuwa_search.core import checked
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.assets import board as wire
from nuwa_search.deploy.collaborate.network import Link, Network, board_name, message_bytes
from nuwa_search.deploy.collaborate.wire import CoordinatorSocket, Keys, check_address

NUM_PINGS = 50
PAUSE_S = 0.05
"""Before each ping of all boards: about what lies between two images of one stream, in which programs fall asleep."""
REPEATS = 3
"""Of a rate; the median is taken."""
FIRST_BYTES = 2**16
BURST = 200
"""Messages that follow each other: programs are busy for tens of milliseconds, and ZeroMQ holds a thousand back."""
LONG_MS = 60.0
"""How long a block must be on its way beside a round trip: ten times what a busy machine adds."""
MAX_MBIT = 1e5
"""Nothing faster is told apart from a round trip's own noise: 1 MiB then takes 0.08 ms."""
ANSWER_S = 20.0
"""One block of ``MAX_PING_BYTES`` at 0.5 Mbit/s, below which nothing is worth distributing."""


class Prober:
    """A coordinator that only sends pings. One thread uses it."""

    def __init__(self, boards: Sequence[str], *, address: str, keys: Keys | None) -> None:
        check_address(address, has_keys=keys is not None)
        self.boards = tuple(board_name(board, "name of a board") for board in boards)
        if not self.boards or len(set(self.boards)) < len(self.boards):
            raise NuwaError("name each board once", hint="--board nano-1 --board nano-2")
        self.max_bytes = wire.MAX_PING_BYTES
        self.socket = CoordinatorSocket(address, keys=keys, max_bytes=self.max_bytes)
        self.on_wire: dict[str, bytes] = {}
        self.next_number = 0

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def address(self) -> str:
        return self.socket.address

    def wait(self, *, timeout_s: float) -> None:
        """Wait for all boards.

        Raises:
            OutsideError: If one did not come.
        """
        end = time.perf_counter() + timeout_s
        while set(self.boards) - set(self.on_wire):
            left = end - time.perf_counter()
            if left <= 0:
                lacking = ", ".join(sorted(set(self.boards) - set(self.on_wire)))
                raise OutsideError(
                    f"board {lacking} did not come to {self.address} within {timeout_s:g} s",
                    hint="on each board: python3 board.py (nuwa collaborate up writes its folder)",
                )
            self._receive(1000 * min(left, 0.1))

    def exchange(self, boards: Sequence[str], *, down: int, up: int) -> dict[str, float]:
        """Send ``down`` bytes to each board at once and have ``up`` bytes sent back: milliseconds until they were here.

        Raises:
            OutsideError: If a board did not answer.
        """
        number, self.next_number = self.next_number, self.next_number + 1
        frames = wire.pack(wire.Message(wire.PING, bytes(down), number=number, figure=up))
        begin = time.perf_counter()
        for board in boards:
            if not self.socket.send_to(self.on_wire[board], frames):
                raise _gone(board)
        took: dict[str, float] = {}
        while len(took) < len(boards):
            if time.perf_counter() - begin > ANSWER_S:
                raise _gone(sorted(set(boards) - set(took))[0])
            found = self._receive(100)
            if found is not None and found[1].number == number and len(found[1].payload) == up:
                took[found[0]] = 1000 * (time.perf_counter() - begin)
        return took

    def burst_ms(self, boards: Sequence[str], *, count: int) -> float:
        """Send ``count`` empty messages to each board and read the answers: milliseconds between two of them.

        Raises:
            OutsideError: If a board did not answer all of them.
        """
        number, self.next_number = self.next_number, self.next_number + 1
        frames = wire.pack(wire.Message(wire.PING, b"", number=number))
        for _ in range(count):
            for board in boards:
                if not self.socket.send_to(self.on_wire[board], frames):
                    raise _gone(board)
        left, first_at, end = dict.fromkeys(boards, count), 0.0, time.perf_counter() + ANSWER_S
        while any(left.values()):
            if time.perf_counter() > end:
                raise _gone(next(board for board in boards if left[board]))
            found = self._receive(100)
            if found is not None and found[1].number == number:
                first_at = first_at or time.perf_counter()
                left[found[0]] -= 1
        return 1000 * (time.perf_counter() - first_at) / (count * len(boards) - 1)

    def _receive(self, timeout_ms: float) -> tuple[str, wire.Message] | None:
        found = self.socket.receive(timeout_ms)
        if found is None:
            return None
        on_wire, frames, keyed = found
        try:
            message = wire.unpack(frames, self.max_bytes)
            if message.kind == wire.HELLO:
                told = checked.mapping(json_from_text(message.payload, what="a board's hello"), "a board's hello")
                name = board_name(told.get("name"), "name of a board")
                if name in self.boards and keyed in (None, name):
                    self.on_wire[name] = on_wire
                    self.socket.send_to(on_wire, wire.pack(wire.Message(wire.WELCOME, b"")))
        except (ValueError, NuwaError):
            return None  # no message of a board
        if message.kind != wire.PONG:
            return None
        name = next((name for name, place in self.on_wire.items() if place == on_wire), "")
        return (name, message) if name else None


def probe_network(
    prober: Prober, *, num_pings: int = NUM_PINGS, say: Callable[[str], None] = lambda _: None
) -> Network:
    """Measure round trips and rates, one board after the other and then all at once.

    A program's time for a message is that between the answers to a burst of them, so that round trips are not in it.
    A rate is that of a block which takes ``LONG_MS`` longer than an empty message, or of 1 MiB.

    Raises:
        OutsideError: If a board does not answer.
    """
    links = []
    for board in prober.boards:
        say(f"probing {board}")
        prober.exchange([board], down=0, up=0)
        pings = [prober.exchange([board], down=0, up=0)[board] for _ in range(num_pings)]
        rtt = statistics.median(pings)
        down, up = (_rate(prober, [board], rtt, is_down=is_down) for is_down in (True, False))
        links.append(Link(board, rtt, float(np.percentile(pings, 95)), down, up, _message_ms(prober, [board])))
    say("probing all boards at once")
    rtt = max(link.rtt_p50_ms for link in links)
    all_down, all_up = (_rate(prober, prober.boards, rtt, is_down=is_down) for is_down in (True, False))
    return Network(
        tuple(links),
        all_down,
        all_up,
        num_pings=num_pings,
        all_message_ms=_message_ms(prober, prober.boards),
        all_rtt_ms=_all_rtt_ms(prober, num_pings),
    )


def _all_rtt_ms(prober: Prober, num_pings: int) -> float:
    took = []
    for _ in range(num_pings):
        time.sleep(PAUSE_S)
        took.append(max(prober.exchange(prober.boards, down=0, up=0).values()))
    return statistics.median(took)


def _message_ms(prober: Prober, boards: Sequence[str]) -> float:
    return statistics.median(prober.burst_ms(boards, count=BURST) for _ in range(REPEATS))


def _rate(prober: Prober, boards: Sequence[str], rtt_ms: float, *, is_down: bool) -> float:
    """Measure 10^6 bits per second over all of the boards together."""
    size = FIRST_BYTES
    while True:
        took = [_extra_ms(prober, boards, size, rtt_ms, is_down=is_down) for _ in range(REPEATS)]
        longest = statistics.median(took)
        if longest >= LONG_MS or size >= prober.max_bytes:
            return min(MAX_MBIT, len(boards) * message_bytes(size) * 8 / longest / 1000)
        size = min(prober.max_bytes, size * 4)


def _extra_ms(prober: Prober, boards: Sequence[str], size: int, rtt_ms: float, *, is_down: bool) -> float:
    down, up = (size, 0) if is_down else (0, size)
    return max(0.001, max(prober.exchange(boards, down=down, up=up).values()) - rtt_ms)


def _gone(board: str) -> OutsideError:
    return OutsideError(f"board {board} does not answer", hint="look at it, and probe again")
