"""What the coordinator keeps of a board, and of an image on its way."""

from dataclasses import dataclass, field

from nuwa_search.deploy.collaborate.npz import Floats


@dataclass
class Peer:
    """One board as the coordinator knows it."""

    name: str
    on_wire: bytes
    boot: str
    runtime: str
    is_paced: bool
    heard_at: float
    is_away: bool = False
    num_missed: int = 0
    outstanding: set[int] = field(default_factory=set)


@dataclass
class Waiting:
    """One image on its way."""

    number: int
    payload: bytes
    begun_at: float
    deadline_at: float
    asked: list[int] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)
    vectors: dict[int, Floats] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    bytes_sent: int = 0
