"""Say what the rest of a board's profile costs, and ask whether to go on."""

import math
import sys
from typing import TYPE_CHECKING

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.output import Output

if TYPE_CHECKING:
    from nuwa_search.predictors.first_day import ProfileCost


def agree_to(cost: "ProfileCost", device: str, *, yes: bool, output: Output) -> None:
    """Print the cost and ask, unless ``-y`` is given; off a terminal ``--minutes`` counts as yes.

    Args:
        cost: Cost of the nets that are left.
        device: Name of the board.
        yes: Whether nothing is asked.
        output: Where it is printed.

    Raises:
        NuwaError: If the minutes do not hold the nets.
        NoAnswerError: If the answer is no.
    """
    if cost.num_engines == 0:
        return
    output.note(cost.words(device))
    if not cost.fits:
        from nuwa_search.predictors.latency.transfer import MAX_MEASUREMENTS

        least = math.ceil(cost.num_engines * cost.first_s / 60)
        raise NuwaError(
            f"{cost.minutes:g} minutes do not hold the {cost.num_engines} engines that are still needed",
            hint=f"nuwa profile {device} --minutes {least} or more; leave --minutes out for a transfer, which needs "
            f"{MAX_MEASUREMENTS}",
        )
    is_alone = sys.stdin is None or not sys.stdin.isatty()
    if is_alone and cost.minutes is not None:
        return
    if not confirmed(f"Measure the {cost.num_engines} nets that are left now?", yes=yes):
        raise NoAnswerError(
            "stopped before the next net; what was measured is kept", hint=f"nuwa profile {device} goes on from there"
        )
