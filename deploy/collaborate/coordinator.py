"""The coordinator: sends images to the boards, fuses what comes back in time, and says who took part.

Deadlines are kept on this clock alone. A board that is late or gone costs accuracy, not the answer: an image is fused
from the vectors that came. A board that is gone is not waited for again until it is heard of.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nuwa_search.core import checked
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.img_size import sides_of
from nuwa_search.deploy.assets import board as wire
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.decide import Rules
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.under_way import Peer, Waiting
from nuwa_search.deploy.collaborate.wire import CoordinatorSocket, Keys, check_address

AWAY_AFTER = 2
"""Images in a row that a silent board misses before nobody waits for it, if it was silent for ``AWAY_AFTER_S``."""
AWAY_AFTER_S = 2.5 * wire.HELLO_S
"""A board that is only slow says hello in between."""
SILENT_S = wire.SILENT_MS / 1000
"""Without a word from a board, which speaks twice a second, before it is held to be away."""
MAX_IN_FLIGHT = 64

Pixels = npt.NDArray[np.uint8]


class Coordinator:
    """The boards of one collaboration, reached through one socket. One thread uses it.

    Args:
        collaboration: The boards and their models.
        fusion: Of the models' vectors.
        address: Where to listen; a port of 0 takes a free one (``address`` then says which).
        keys: Keys of coordinator and boards; None is allowed on loopback only.
        say: Called with one line of text when a board comes or goes, or something is refused.
    """

    def __init__(
        self,
        collaboration: Collaboration,
        fusion: Fusion,
        *,
        address: str,
        keys: Keys | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        check_address(address, has_keys=keys is not None)
        if keys is not None and set(collaboration.boards) - set(keys.boards):
            lacking = sorted(set(collaboration.boards) - set(keys.boards))[0]
            raise NuwaError(
                f"the keys know no board {lacking!r}", hint="nuwa collaborate up writes them for this folder"
            )
        largest = 4 * max(collaboration.vector_dims)
        self.collaboration, self.fusion, self.say = collaboration, fusion, say
        self.socket = CoordinatorSocket(address, keys=keys, max_bytes=max(wire.MAX_TEXT_BYTES, largest))
        self.max_bytes = max(wire.MAX_TEXT_BYTES, largest)
        self.session = secrets.randbits(63)
        self.peers: dict[str, Peer] = {}
        self.waiting: dict[int, Waiting] = {}
        self.next_number = 0
        self.num_dropped = 0
        self.window = 1
        self.away_after_s = AWAY_AFTER_S
        self._turned_away = 0

    def __enter__(self) -> "Coordinator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the port; boards go on looking for a coordinator."""
        self.socket.close()

    @property
    def address(self) -> str:
        return self.socket.address

    @property
    def present(self) -> tuple[str, ...]:
        """Boards that images go to now."""
        return tuple(name for name in self.collaboration.boards if name in self.peers and not self.peers[name].is_away)

    def wait(self, *, timeout_s: float, wanted: int | None = None) -> tuple[str, ...]:
        """Wait for boards.

        Args:
            timeout_s: Longest time to wait, in seconds.
            wanted: Number of boards that is enough; None for all of the collaboration.

        Returns:
            Names of the boards that are connected.

        Raises:
            OutsideError: If none came.
        """
        enough = len(self.collaboration.boards) if wanted is None else wanted
        end = time.perf_counter() + timeout_s
        while len(self.present) < enough and (left := end - time.perf_counter()) > 0:
            self._pump(1000 * min(left, 0.1))
        if not self.present:
            raise OutsideError(
                f"no board of {', '.join(self.collaboration.boards)} came to {self.address} within {timeout_s:g} s",
                hint="on each board: python3 board.py --coordinator ADDRESS (nuwa collaborate up writes its folder)",
            )
        return self.present

    def stream(
        self, images: Iterable[Pixels], *, mode: str | None = None, deadline_ms: float | None = None, in_flight: int = 1
    ) -> Iterator[CollaborativeAnswer]:
        """Answer images in their order.

        Args:
            images: Each (H, W, 3) uint8, as the collaboration's preprocessing crops them.
            mode: ``fuse``, ``any`` or ``route``; None for the collaboration's first.
            deadline_ms: After which an image is fused from what is there; None for the predicted p95 times two and one
                more for each image in flight, which wait for each other on the boards.
            in_flight: Images that are on their way at once.

        Raises:
            NuwaError: If the collaboration has no such mode, or an image is of another size.
        """
        chosen = self.collaboration.modes[0] if mode is None else self.collaboration.figures(mode)
        rules = Rules(self.collaboration, self.fusion, chosen)
        self.window = checked.integer(in_flight, "in_flight", low=1, high=MAX_IN_FLIGHT)
        own_ms = (2 + self.window) * chosen.predicted_p95_ms
        limit_ms = own_ms if deadline_ms is None else checked.finite(deadline_ms, "deadline", above=0)
        source, first, ready = iter(images), self.next_number, dict[int, CollaborativeAnswer]()
        next_out, is_over = first, False
        self.waiting.clear()
        while not is_over or self.waiting or ready:
            while not is_over and len(self.waiting) < self.window and self.next_number - next_out < 2 * self.window:
                image = next(source, None)
                if image is None:
                    is_over = True
                    break
                self._begin(image, rules, limit_ms)
            self._settle(rules, first, ready)
            while next_out in ready:
                yield ready.pop(next_out)
                next_out += 1
            is_full = len(self.waiting) >= self.window or self.next_number - next_out >= 2 * self.window
            if self.waiting and (is_over or is_full):
                soonest = min(one.deadline_at for one in self.waiting.values())
                self._pump(1000 * max(0.0, soonest - time.perf_counter()))

    def _begin(self, image: Pixels, rules: Rules, limit_ms: float) -> None:
        wanted = (*sides_of(self.collaboration.preprocess.img_size), 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise NuwaError(f"an image is {image.shape} of {image.dtype}, wanted {wanted} of uint8")
        self._pump(0)
        now = time.perf_counter()
        one = Waiting(self.next_number, image.tobytes(), now, now + limit_ms / 1000)
        self.next_number += 1
        self.waiting[one.number] = one
        for board in self.collaboration.boards:
            if (reason := self._why_not(board)) is not None:
                one.missing[board] = reason
        self._ask(one, rules.first(self._reachable()))

    def _why_not(self, board: str) -> str | None:
        """Return why a board cannot be asked now; None where it can."""
        peer = self.peers.get(board)
        if peer is None or peer.is_away:
            return "away"
        if time.perf_counter() - peer.heard_at > SILENT_S and peer.outstanding:
            self._lose(peer, "is silent")
            return "away"
        return "busy" if len(peer.outstanding) > self.window else None

    def _reachable(self) -> set[int]:
        boards = {board for board in self.collaboration.boards if self._why_not(board) is None}
        return {i for i, part in enumerate(self.collaboration.parts) if part.board in boards}

    def _ask(self, one: Waiting, parts: Sequence[int]) -> None:
        """Send the image once to each board that has one of the sub-models."""
        by_board: dict[str, int] = {}
        for place in parts:
            board = self.collaboration.parts[place].board
            by_board[board] = by_board.get(board, 0) | 1 << place
        one.asked += parts
        for board, mask in by_board.items():
            peer = self.peers[board]
            message = wire.Message(wire.IMAGE, one.payload, session=self.session, number=one.number, figure=mask)
            if not self.socket.send_to(peer.on_wire, wire.pack(message)):
                self._lose(peer, "is gone")
                one.missing[board] = "away"
                continue
            peer.outstanding.add(one.number)
            one.bytes_sent += len(one.payload)
            one.waiting |= {place for place in parts if mask >> place & 1}

    def _settle(self, rules: Rules, first: int, ready: dict[int, CollaborativeAnswer]) -> None:
        """Finish images that are complete or late, and ask further boards where the mode wants them."""
        for number, one in list(self.waiting.items()):
            is_late = time.perf_counter() >= one.deadline_at
            more = None if is_late else self._more(one, rules)
            while more:
                self._ask(one, more)
                more = self._more(one, rules)
            if is_late or more is None:
                del self.waiting[number]
                if is_late:
                    self._miss(one)
                ready[number] = self._answer(one, rules, first)

    def _more(self, one: Waiting, rules: Rules) -> tuple[int, ...] | None:
        return rules.more(one.vectors, one.asked, one.waiting, self._reachable())

    def _miss(self, one: Waiting) -> None:
        for board in sorted({self.collaboration.parts[place].board for place in one.waiting}):
            one.missing[board] = "late"
            peer = self.peers.get(board)
            if peer is not None and not peer.is_away:
                peer.num_missed += 1
                is_silent = time.perf_counter() - peer.heard_at >= self.away_after_s
                if is_silent and peer.num_missed >= AWAY_AFTER:
                    self._lose(peer, f"missed {peer.num_missed} deadlines without a word")

    def _answer(self, one: Waiting, rules: Rules, first: int) -> CollaborativeAnswer:
        parts = self.collaboration.parts
        used = sorted(one.vectors)
        boards = tuple(dict.fromkeys(parts[place].board for place in used))
        wanted = {parts[place].board for place in one.asked} | set(one.missing)
        missing = {board: one.missing.get(board, "not waited for") for board in wanted if board not in boards}
        has_pixels = self.collaboration.grid is not None
        scores = rules.scores(one.vectors) if used and has_pixels else None
        chances = rules.chances(one.vectors) if used and not has_pixels else None
        best = None if chances is None else int(chances.argmax())
        return CollaborativeAnswer(
            number=one.number - first,
            label=None if best is None else self.collaboration.labels[best],
            class_index=best,
            score=None if chances is None or best is None else float(chances[best]),
            latency_ms=1000 * (time.perf_counter() - one.begun_at),
            boards=boards,
            parts=tuple(parts[place].name for place in used),
            missing=tuple(sorted(missing.items())),
            bytes_sent=one.bytes_sent,
            bytes_received=sum(vector.nbytes for vector in one.vectors.values()),
            scores=scores,
        )

    def _pump(self, timeout_ms: float) -> None:
        """Wait for one message and take whatever else is there."""
        found = self.socket.receive(timeout_ms)
        while found is not None:
            on_wire, frames, keyed = found
            try:
                message = wire.unpack(frames, self.max_bytes)
            except ValueError as error:
                self._drop(str(error))
            else:
                self._take(on_wire, message, keyed)
            found = self.socket.receive(0)
        if self.socket.num_turned_away > self._turned_away:
            self._turned_away = self.socket.num_turned_away
            self.say("a connection with keys that are not known was turned away")

    def _take(self, on_wire: bytes, message: wire.Message, keyed: str | None) -> None:
        if message.kind == wire.HELLO:
            self._greet(on_wire, message.payload, keyed)
            return
        peer = next((peer for peer in self.peers.values() if peer.on_wire == on_wire), None)
        if peer is None:
            return  # not greeted yet: it says hello within half a second
        if message.kind == wire.BYE:
            self._lose(peer, "has left")
            return
        self._heard(peer)
        if message.session == self.session and message.kind in (wire.VECTOR, wire.FAILED):
            self._vector(peer, message)

    def _vector(self, peer: Peer, message: wire.Message) -> None:
        one = self.waiting.get(message.number)
        parts = self.collaboration.parts
        is_own = message.part < len(parts) and parts[message.part].board == peer.name
        if one is None or not is_own or message.part not in one.waiting:
            if is_own and not (one and any(parts[p].board == peer.name for p in one.waiting)):
                peer.outstanding.discard(message.number)
            return
        one.waiting.discard(message.part)
        if not any(parts[place].board == peer.name for place in one.waiting):
            peer.outstanding.discard(message.number)
        if message.kind == wire.FAILED:
            one.missing[peer.name] = message.payload[:300].decode("utf-8", "replace")
            return
        vector = np.frombuffer(message.payload, "<f4") if len(message.payload) % 4 == 0 else np.zeros(0, np.float32)
        if len(vector) != parts[message.part].vector_dim or not np.isfinite(vector).all():
            self._drop(
                f"{peer.name} sent {len(message.payload)} bytes that are no vector of {parts[message.part].name}"
            )
            one.missing[peer.name] = "sent no vector"
            return
        peer.num_missed = 0
        one.vectors[message.part] = np.asarray(vector, np.float32)

    def _greet(self, on_wire: bytes, payload: bytes, keyed: str | None) -> None:
        try:
            name, boot, runtime, is_paced = self._read_hello(payload, keyed)
        except NuwaError as error:
            self.say(f"a board is refused: {error.message}")
            self._send(on_wire, wire.Message(wire.REFUSED, error.message.encode()[:1000]))
            return
        peer = self.peers.get(name)
        if peer is not None and peer.on_wire == on_wire:
            self._heard(peer)
            return
        is_other = peer is not None and peer.boot != boot and not peer.is_away
        if is_other and peer is not None and self._send(peer.on_wire, wire.Message(wire.WELCOME, b"")):
            self._send(on_wire, wire.Message(wire.REFUSED, f"another {name} is connected".encode()))
            return
        if peer is not None:
            self._lose(peer, "connects again", is_told=False)
        self.peers[name] = Peer(name, on_wire, boot, runtime, is_paced, time.perf_counter())
        self._send(on_wire, wire.Message(wire.WELCOME, b"", session=self.session))
        self.say(f"{name} takes part ({runtime}{', at an emulated pace' if is_paced else ''})")

    def _read_hello(self, payload: bytes, keyed: str | None) -> tuple[str, str, str, bool]:
        """Read who a board is; one with other models, or another's key, is refused."""
        told = checked.mapping(
            json_from_text(payload, what="what a board says of itself"), "what a board says of itself"
        )
        name = checked.text(told.get("name"), "name of a board", max_length=63)
        if keyed is not None and keyed != name:
            raise NuwaError(f"a board calls itself {name!r} and has the key of {keyed!r}")
        if name not in self.collaboration.boards:
            raise NuwaError(f"there is no board {name!r} here", hint=", ".join(self.collaboration.boards))
        found = checked.items(told.get("models"), f"models of {name}", max_items=wire.MAX_PARTS)
        models = {(m.get("part"), m.get("sha256")) for m in (checked.mapping(v, f"model of {name}") for v in found)}
        for place in self.collaboration.parts_on(name):
            part = self.collaboration.parts[place]
            if (place, part.model_sha256) not in models:
                raise NuwaError(f"{name} does not run {part.name} as this collaboration has it: copy its folder again")
        boot = checked.text(told.get("boot"), f"boot of {name}", max_length=64)
        runtime = checked.text(told.get("runtime"), f"runtime of {name}", max_length=100)
        return name, boot, runtime, checked.boolean(told.get("is_paced"), f"is_paced of {name}")

    def _heard(self, peer: Peer) -> None:
        peer.heard_at, peer.num_missed = time.perf_counter(), 0
        if peer.is_away:
            peer.is_away = False
            self.say(f"{peer.name} takes part again")

    def _lose(self, peer: Peer, why: str, *, is_told: bool = True) -> None:
        """Count a board as away; nobody waits for what it was asked."""
        if is_told and not peer.is_away:
            self.say(f"{peer.name} {why}; it is taken back when it returns")
        peer.is_away = True
        peer.outstanding.clear()
        own = set(self.collaboration.parts_on(peer.name))
        for one in self.waiting.values():
            if one.waiting & own:
                one.missing[peer.name] = "lost"
                one.waiting -= own

    def _send(self, on_wire: bytes, message: wire.Message) -> bool:
        return self.socket.send_to(on_wire, wire.pack(message))

    def _drop(self, why: str) -> None:
        self.num_dropped += 1
        if self.num_dropped <= 3:  # who floods fills no log
            self.say(f"dropped: {why}")


def described(coordinator: Coordinator) -> dict[str, Any]:
    """Describe the coordinator and its boards, for answers in JSON."""
    return {
        "address": coordinator.address,
        "boards": {
            peer.name: {"runtime": peer.runtime, "is_paced": peer.is_paced, "is_away": peer.is_away}
            for peer in coordinator.peers.values()
        },
        "dropped_messages": coordinator.num_dropped,
    }
