"""What minutes of load did to a board: clocks and heat meanwhile, and how long it took to cool down."""

from collections.abc import Callable, Sequence

from nuwa_search.latency.devices.board_state import BoardState

# Above where it began: sensors of a Jetson step by half a degree, and a fan holds a board within a degree or two.
_COOL_MILLIDEGREES = 2000
_PATIENCE_S = 900.0  # a passively cooled board takes minutes; after a quarter of an hour the room is warmer


def hottest(state: BoardState) -> int | None:
    """Return the hottest zone in thousandths of a degree; None where the board tells none."""
    found = [
        int(value)
        for key, value in state.values.items()
        # The Nano's PMIC-Die zone is a placeholder that always says 100 degrees.
        if key.startswith("temp_") and "PMIC" not in key and value.lstrip("-").isdigit()
    ]
    return max(found, default=None)


def wait_until_cool(
    read: Callable[[], BoardState], *, before: BoardState, sleep: Callable[[float], None], poll_s: float
) -> float | None:
    """Wait until a board is about as cool as before its load, so that the next figure starts where this one did.

    Args:
        read: Reads the state.
        before: The state before the load.
        sleep: Waits.
        poll_s: Pause between two looks.

    Returns:
        Seconds waited; None if it did not get there in a quarter of an hour, or tells no temperature.
    """
    aim = hottest(before)
    if aim is None:
        return None
    waited_s = 0.0
    while waited_s <= _PATIENCE_S:
        now = hottest(read())
        if now is None:
            return None
        if now <= aim + _COOL_MILLIDEGREES:
            return waited_s
        sleep(poll_s)
        waited_s += poll_s
    return None


def load_state(
    before: BoardState, after: BoardState, *, samples: Sequence[tuple[int, int]], cooldown_s: float | None
) -> dict[str, str]:
    """Sum up a run under load; what the board did not tell is left out.

    Args:
        before: State before it.
        after: State right after it.
        samples: Clock in Hz and heat in thousandths of a degree, taken meanwhile; 0 where the board tells none.
        cooldown_s: From ``wait_until_cool``.
    """
    pinned = before.values.get("gpu_max_hz") if before.clocks_pinned else None
    clocks = [clock for clock, _ in samples if clock]
    clocks += [int(value) for value in [after.values.get("gpu_cur_hz")] if value is not None and value.isdigit()]
    heats = [heat for _, heat in samples if heat]
    heats += [heat for heat in (hottest(after),) if heat is not None]
    found: dict[str, str] = {}
    if clocks:
        found["load_gpu_hz_min"] = str(min(clocks))
    if clocks and pinned is not None:
        found["load_throttled_share"] = f"{sum(clock < int(pinned) for clock in clocks) / len(clocks):.3f}"
    if heats:
        found["load_temp_max"] = str(max(heats))
    if (start := hottest(before)) is not None:
        found["load_temp_before"] = str(start)
    if cooldown_s is not None:
        found["cooldown_s"] = f"{cooldown_s:g}"
    elif heats:
        found["cooldown_s"] = f"not within {_PATIENCE_S:g}"
    return found
