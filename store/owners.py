"""Who holds a search or a job, and whether that process still lives."""

import os
import socket
from datetime import datetime, timedelta

# A running owner beats every HEARTBEAT_S; four beats may be lost (a paused laptop, a busy disk)
# before others take it for dead. A process that died on this host is noticed at once.
HEARTBEAT_S = 15.0
LEASE_S = 60.0


def is_owner_alive(*, host: str | None, pid: int | None, heartbeat_at: datetime | None, now: datetime) -> bool:
    """Whether an owner's heart beat lately and its process is not known to be dead.

    Args:
        host: Where the owner runs.
        pid: Its process there; None for no owner.
        heartbeat_at: When its heart beat last; None for never.
        now: The moment to judge at.
    """
    if heartbeat_at is None or pid is None:
        return False
    if now - heartbeat_at > timedelta(seconds=LEASE_S):
        return False
    return not (host == socket.gethostname() and _pid_is_dead(pid))


def _pid_is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives and belongs to somebody else
        return False
    return False
