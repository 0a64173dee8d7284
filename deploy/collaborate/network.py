"""Figures of the network between a coordinator and its boards, and what a message costs on it."""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nuwa_search.core import checked
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.records import record_from_dict

SCHEMA = "nuwa.network/1"
HEADER_BYTES = 32
"""Of each message of ours, before what it carries (``deploy/assets/board.py``)."""
FRAME_BYTES = 44
"""What ZeroMQ adds to a message of two frames (two times 9, ZMTP 3.1), and CURVE to each of them (33, at most)."""
MAX_BOARDS = 64
_MAX_MS, _MAX_MBIT = 60_000.0, 1e6
_HINT = "nuwa collaborate probe measures the network and writes this file"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""A host's label (RFC 1123): it becomes the name of a folder, a service and a unit."""


def board_name(value: object, name: str) -> str:
    """Return the name of a board: letters, digits, hyphens and underscores, at most 63.

    Raises:
        NuwaError: If it is anything else.
    """
    found = checked.text(value, name, max_length=1000)
    if not _NAME.fullmatch(found):
        raise NuwaError(
            f"{name} must be letters, digits, - and _, found {checked.shown(value)}", hint="name it such as nano-1"
        )
    return found


@dataclass(frozen=True)
class Link:
    """The way between the coordinator and one board, used alone.

    Args:
        board: Name of the board.
        rtt_p50_ms: Median time of an empty message there and back, both programs included.
        rtt_p95_ms: 95th percentile of the same.
        down_mbit: Rate from the coordinator to the board, in 10^6 bits per second.
        up_mbit: Rate from the board to the coordinator.
        message_ms: Of one empty message in a burst of them, there and back: what the slower of the two programs takes
            for it; 0 where nobody measured.
        is_local: Whether the coordinator runs on this board: then nothing of it goes over a wire.
    """

    board: str
    rtt_p50_ms: float
    rtt_p95_ms: float
    down_mbit: float
    up_mbit: float
    message_ms: float = 0.0
    is_local: bool = False

    def __post_init__(self) -> None:
        board_name(self.board, "board of a link")
        low = checked.finite(self.rtt_p50_ms, f"rtt_p50_ms of {self.board}", low=0, high=_MAX_MS)
        checked.finite(self.rtt_p95_ms, f"rtt_p95_ms of {self.board}", low=low, high=_MAX_MS)
        for name in ("down_mbit", "up_mbit"):
            checked.finite(getattr(self, name), f"{name} of {self.board}", above=0, high=_MAX_MBIT)
        checked.finite(self.message_ms, f"message_ms of {self.board}", low=0, high=_MAX_MS)
        checked.boolean(self.is_local, f"is_local of {self.board}")


@dataclass(frozen=True)
class Network:
    """What is known of the network.

    Args:
        links: One per board.
        all_down_mbit: Sum of the rates when the coordinator sends to all boards at once: its own link, where that is
            narrower than theirs together.
        all_up_mbit: The same when all boards send at once.
        provenance: ``measured`` by a probe, or ``assumed`` where nobody measured.
        num_pings: Round trips behind each ``rtt``; 0 where assumed.
        all_message_ms: Of one message where bursts go to all boards at once: at most this is the coordinator's own.
        all_rtt_ms: Median time until the last answer where an empty message goes to all boards at once, with pauses
            between them as between images that come one at a time; 0 where nobody measured.
    """

    links: tuple[Link, ...]
    all_down_mbit: float
    all_up_mbit: float
    provenance: Literal["measured", "assumed"] = "measured"
    num_pings: int = 0
    all_message_ms: float = 0.0
    all_rtt_ms: float = 0.0

    def __post_init__(self) -> None:
        checked.items(self.links, "links", min_items=1, max_items=MAX_BOARDS)
        checked.finite(self.all_down_mbit, "all_down_mbit", above=0, high=_MAX_MBIT * MAX_BOARDS)
        checked.finite(self.all_up_mbit, "all_up_mbit", above=0, high=_MAX_MBIT * MAX_BOARDS)
        checked.integer(self.num_pings, "num_pings", low=0)
        checked.finite(self.all_message_ms, "all_message_ms", low=0, high=_MAX_MS)
        checked.finite(self.all_rtt_ms, "all_rtt_ms", low=0, high=_MAX_MS)
        names = [link.board for link in self.links]
        if len(set(names)) < len(names):
            raise NuwaError("the network names a board twice", hint=_HINT)

    @property
    def local_boards(self) -> tuple[str, ...]:
        """Boards that the coordinator runs on."""
        return tuple(link.board for link in self.links if link.is_local)

    def crowd_ms(self, boards: Sequence[str]) -> float:
        """Milliseconds that a round trip to so many boards at once takes beyond the slowest board's own.

        Measured with all boards; with fewer it is taken to be less in proportion to those beside the first. Boards that
        the coordinator runs on do not count.
        """
        far = [link for link in self.links if not link.is_local]
        asked = sum(link.board in set(boards) for link in far)
        if asked < 2:
            return 0.0
        beyond = self.all_rtt_ms - max(link.rtt_p50_ms for link in far)
        return max(0.0, beyond) * (asked - 1) / (len(far) - 1)

    def link(self, board: str) -> Link:
        """Return the link of one board.

        Raises:
            NuwaError: If it was not probed.
        """
        for link in self.links:
            if link.board == board:
                return link
        known = ", ".join(link.board for link in self.links)
        raise NuwaError(f"the network figures know no board {board!r}, only {known}", hint=_HINT)


def assumed_network(boards: Sequence[str], *, mbit: float = 1000.0, rtt_ms: float = 0.5) -> Network:
    """Assume a switch with equal links.

    Args:
        boards: Names of the boards.
        mbit: Rate of each link and of the coordinator's; gigabit, which DeViT used (arXiv 2309.05015, section 5).
        rtt_ms: Round trip of an empty message.
    """
    links = tuple(Link(board, rtt_ms, rtt_ms, mbit, mbit) for board in boards)
    return Network(links, all_down_mbit=mbit, all_up_mbit=mbit, provenance="assumed")


def with_local(network: Network, boards: Collection[str]) -> Network:
    """Say of boards that the coordinator runs there: an assumed round trip to them is none."""

    def moved(link: Link) -> Link:
        if link.board not in boards:
            return link
        if network.provenance == "measured":
            return replace(link, is_local=True)
        return replace(link, is_local=True, rtt_p50_ms=0.0, rtt_p95_ms=0.0)

    return replace(network, links=tuple(moved(link) for link in network.links))


def message_bytes(num_bytes: int) -> int:
    """Count what a message with so many bytes of payload puts on the wire, TCP and below left out."""
    return HEADER_BYTES + FRAME_BYTES + num_bytes


def ways_ms(network: Network, boards: Sequence[str], *, image_bytes: int, vector_bytes: Sequence[int]) -> list[float]:
    """Predict the milliseconds that one image spends on the wire, by board: there, and its vectors back.

    The coordinator sends to the boards in their order: a board's image has arrived when its own link has carried it,
    and not before the coordinator's has carried it and those before it. The way back is each board's own. What a round
    trip takes longer where several boards are asked at once is added. A board that the coordinator runs on is sent
    nothing over either.

    Args:
        network: Its figures; medians of the round trips are used.
        boards: Names of the boards that take part, in the order in which they are sent to.
        image_bytes: Of one image.
        vector_bytes: Of what each board sends back.
    """
    ways, sent, crowd_ms = [], 0, network.crowd_ms(boards)
    for board, answer in zip(boards, vector_bytes, strict=True):
        link = network.link(board)
        if link.is_local:
            ways.append(link.rtt_p50_ms)
            continue
        asked = message_bytes(image_bytes)
        sent += asked
        there = max(_ms(asked, link.down_mbit), _ms(sent, max(network.all_down_mbit, link.down_mbit)))
        ways.append(there + _ms(message_bytes(answer), link.up_mbit) + link.rtt_p50_ms + crowd_ms)
    return ways


def _ms(num_bytes: int, mbit: float) -> float:
    return num_bytes * 8 / mbit / 1000


def network_to_json(network: Network) -> dict[str, Any]:
    """Render the figures as ``nuwa.network/1``."""
    return {"schema": SCHEMA, **asdict(network), "links": [asdict(link) for link in network.links]}


def network_from_json(values: object, *, where: str) -> Network:
    """Read what ``network_to_json`` wrote.

    Raises:
        NuwaError: If it is of another schema, or a figure is missing, unknown or out of range.
    """
    found = dict(checked.mapping(values, where))
    schema = found.pop("schema", None)
    if schema != SCHEMA:
        raise NuwaError(f"{where} is {checked.shown(schema)}, wanted {SCHEMA}", hint=_HINT)
    return record_from_dict(Network, found, where=where)


def read_network(path: Path) -> Network:
    """Read a file that ``nuwa collaborate probe`` wrote.

    Raises:
        NuwaError: If it is missing or no such file.
    """
    return network_from_json(read_object(path, what="network file", hint=_HINT), where=f"network file {path}")
