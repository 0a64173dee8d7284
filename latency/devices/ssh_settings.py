"""How patient to be with a board over SSH."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SshSettings:
    """How patient to be with a board.

    Args:
        max_attempts: Times one model is tried before the reason is given.
        max_repeats: Times a noisy run is repeated; the quietest counts, runs are never averaged.
        build_timeout_s: Longest engine build; 2-11 minutes are usual on a Nano.
        reconnect_s: How long a lost board is waited for; a Nano boots in about a minute.
        poll_s: Pause between two tries to reach it, and before any new attempt.
        workspace_mb: Builder workspace in MiB; None chooses by the board's memory.
        keeps_engines: Whether engines outlive the stay, until ``forget``; they lie in ``~/.cache/nuwa-search`` there.
        with_profile: Whether layers are timed too, in a run of their own.
        sysroot: What stands before ``/sys``, ``/proc`` and ``/etc`` on the board.
    """

    max_attempts: int = 3
    max_repeats: int = 2
    build_timeout_s: float = 1800.0
    reconnect_s: float = 180.0
    poll_s: float = 5.0
    workspace_mb: int | None = None
    keeps_engines: bool = False
    with_profile: bool = True
    sysroot: str = ""
