"""The line that breaks the silence while a board builds for minutes, or is kept busy for ten."""

from nuwa_search.core.device import DeviceSpec
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.progress import ProgressLine


def board_line(spec: DeviceSpec, output: Output, *, is_sustained: bool = False) -> ProgressLine:
    """Make the progress line of one model on a device; it stays off for what answers within seconds.

    Args:
        spec: The device.
        output: Whether anything may be shown.
        is_sustained: Whether the level after minutes of load is measured too.
    """
    line = ProgressLine(enabled=output.shows_progress and (spec.kind == "ssh" or is_sustained))
    what = "latency, then ten minutes of load" if is_sustained else "engine and latency"
    line.stage(f"{spec.name}: {what}")
    return line
