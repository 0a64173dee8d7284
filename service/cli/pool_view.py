"""Boards of a pool, as `nuwa device show` tells them."""

from typing import TypedDict

from nuwa_search.store.records import BoardRatio, BoardRecord


class BoardJson(TypedDict):
    """A board in `nuwa.device/1`; ``words`` is one line for people."""

    name: str
    takes_part: bool
    out_reason: str | None
    out_at: str | None
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    is_corrected: bool
    is_leased: bool
    num_leases: int
    words: str


def board_json(record: BoardRecord) -> BoardJson:
    """Render a board of a pool."""
    ratio = None if record.ratio is None else BoardRatio(record.name, record.ratio, record.ratio_interval)
    is_off = ratio is not None and ratio.is_off
    words = [f"out since {record.out_at:%Y-%m-%d %H:%M}: {record.out_reason}" if record.out_at else "takes part"]
    if ratio is not None:
        low, high = ratio.interval or (None, None)
        interval = "" if low is None or high is None else f" ({low:.3f}-{high:.3f})"
        words.append(f"{ratio.ratio:.3f}{interval} of the median board{', corrected' if is_off else ''}")
    words.append(f"lent {record.num_leases} times{', now too' if record.is_leased else ''}")
    return BoardJson(
        name=record.name,
        takes_part=record.out_at is None,
        out_reason=record.out_reason,
        out_at=None if record.out_at is None else record.out_at.isoformat(),
        ratio=record.ratio,
        ratio_interval=record.ratio_interval,
        is_corrected=is_off,
        is_leased=record.is_leased,
        num_leases=record.num_leases,
        words="; ".join(words),
    )
