"""How a service is set up."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServiceSettings:
    """Everything that the service is told when it starts.

    Args:
        roots: Folders that clients may name paths in; the first is where relative paths start. All resolved.
        token: What clients have to show; None on this machine only.
        allowed_hosts: Names that requests may be addressed to; empty for any, which needs a token.
        is_hub_allowed: Whether bases and data may be named on the Hub, which loads them from the network.
        max_body_bytes: Largest request body; the largest sensible one is a search with a list of classes.
        requests_per_s: Sustained rate of one client.
        burst: Requests that a client may send at once; a view of the page sends about ten.
        max_streams: Event streams that may be open at once.
        max_active_jobs: Jobs that may be queued or running at once.
        event_poll_s: Between two looks for new events.
        event_ping_s: Without an event before a comment is sent.
    """

    roots: tuple[Path, ...]
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    is_hub_allowed: bool = False
    max_body_bytes: int = 256 * 1024
    requests_per_s: float = 50.0
    burst: int = 200
    max_streams: int = 64
    max_active_jobs: int = 1000
    event_poll_s: float = 0.5
    event_ping_s: float = 15.0
