"""Network namespaces of one coordinator and some boards on a switch, every link shaped by ``tc tbf``."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

SWITCH, CENTRE = "nwc-switch", "nwc-centre"
CENTRE_IP = "10.77.0.1"
BURST_BYTES = 3200
"""Two frames of an Ethernet: what a link may send at once before it keeps to its rate."""


def board_space(place: int) -> str:
    """Name the namespace of a board."""
    return f"nwc-board{place + 1}"


@contextmanager
def namespaces(num_boards: int, *, mbit: float) -> Iterator[None]:
    """Make the namespaces and their links for the length of a block; needs root.

    Each of them hangs on a bridge by one link that carries ``mbit`` in either direction.
    """
    spaces = [CENTRE, *(board_space(place) for place in range(num_boards))]
    try:
        for space in (SWITCH, *spaces):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "br0", "up")
        for place, space in enumerate(spaces):
            near, far = f"vn{place}", f"vf{place}"
            ip("link", "add", near, "netns", space, "type", "veth", "peer", "name", far, "netns", SWITCH)
            ip("-n", space, "addr", "add", f"10.77.0.{place + 1}/24", "dev", near)
            ip("-n", space, "link", "set", near, "up")
            ip("-n", SWITCH, "link", "set", far, "master", "br0", "up")
            for where, device in ((space, near), (SWITCH, far)):
                shape(where, device, mbit=mbit)
        yield
    finally:
        for space in (*spaces, SWITCH):
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", space)


def shape(space: str, device: str, *, mbit: float) -> None:
    """Let a device send at a rate."""
    words = ["rate", f"{mbit:g}mbit", "burst", str(BURST_BYTES), "latency", "2s"]
    inside(space, ["tc", "qdisc", "add", "dev", device, "root", "tbf", *words])


def inside(space: str, line: Sequence[str]) -> None:
    """Run a command in a namespace."""
    subprocess.run(["ip", "netns", "exec", space, *line], check=True, capture_output=True)


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True)
