"""Network figures as they are named on a command line: a rate with a delay, or a probe's file."""

import re
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.deploy.collaborate.network import Network, assumed_network, read_network

_UNITS = {"kbit": 1e-3, "mbit": 1.0, "gbit": 1e3}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(kbit|mbit|gbit)(?:/s|ps)?", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)\s*ms", re.IGNORECASE)


def network_of(text: str | None, boards: Sequence[str]) -> Network:
    """Return the network that a text names.

    Args:
        text: Rate and delay of one way, such as ``100mbit,5ms``, or a file that ``nuwa collaborate probe`` wrote; None
            for a gigabit switch.
        boards: Names of the boards. A file must know each.

    Raises:
        NuwaError: If it is neither, or lacks a board.
    """
    if text is None:
        return assumed_network(boards)
    rate, _, delay = text.partition(",")
    found, waits = _RATE.fullmatch(rate.strip()), _DELAY.fullmatch(delay.strip())
    if found is not None and waits is not None:
        mbit = float(found[1]) * _UNITS[found[2].lower()]
        if mbit <= 0:
            raise NuwaError(f"a network needs a rate above 0, found {text!r}", hint="such as --network 100mbit,5ms")
        return assumed_network(boards, mbit=mbit, rtt_ms=2 * float(waits[1]))
    path = expanded(text)
    if not Path(path).exists():
        raise NuwaError(
            f"a network is a rate and the delay of one way, or a probe's file, found {text!r}",
            hint="such as --network 100mbit,5ms, or --network FILE of nuwa collaborate probe",
        )
    network = read_network(path)
    for board in boards:
        network.link(board)
    return network
