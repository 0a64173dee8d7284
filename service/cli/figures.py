"""Numbers as people read them: unit, interval and provenance always beside the value."""

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float | None) -> str:
    """Render a fraction: ``87.6 %``; a dash when not known."""
    return "–" if share is None else f"{100 * share:.1f} %"


def share(value: float | None, ends: Sequence[float] | None) -> str:
    """Render a fraction with its 95 % interval: ``87.6 % (82.9-91.1)``."""
    if value is None or ends is None:
        return percent(value)
    return f"{percent(value)} ({100 * ends[0]:.1f}-{100 * ends[1]:.1f})"


def count(value: float) -> str:
    """Render a count with its SI prefix: ``5.38 M``."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}"
    return f"{value:.0f}"


def milliseconds(value: float) -> str:
    """Render a latency with three significant digits: ``4.31 ms``."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def interval(ends: Sequence[float]) -> str:
    """Render an interval in milliseconds: ``4.21-4.40``."""
    return "-".join(f"{end:.2f}" if end < 10 else f"{end:.1f}" for end in ends)


def measured(values: Mapping[str, Any]) -> str:
    """Render a measured or emulated latency from its parts: ``4.31 ms emulated (p95 4.35)``."""
    p95 = values.get("measured_p95_ms")
    beside = f" (p95 {interval([p95])})" if p95 is not None else ""
    return f"{milliseconds(values['measured_latency_ms'])} {values['provenance']}{beside}"


def predicted(values: Mapping[str, Any]) -> str:
    """Render a predicted latency: ``4.30 ms predicted (4.21-4.40)``."""
    text = f"{milliseconds(values['predicted_latency_ms'])} predicted"
    return f"{text} ({interval(values['predicted_interval_ms'])})"
