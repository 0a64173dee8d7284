"""Latency budgets as they are written: ``30``, or ``30@jetson-nano`` where several devices each have one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.errors import NuwaError

_HINT = "one budget: --budget-ms 30 --device NAME; several: --budget-ms 30@NAME --budget-ms 8@OTHER"


@dataclass(frozen=True)
class DeviceBudget:
    """What a model may take on one device.

    Args:
        budget_ms: Milliseconds at most.
        device: Its name; None where it is said elsewhere.
    """

    budget_ms: float
    device: str | None

    @property
    def text(self) -> str:
        """As it is written: ``8@jetson-orin-nano``."""
        number = repr(self.budget_ms).removesuffix(".0")  # every digit, so that it is read back as it was
        return number if self.device is None else f"{number}@{self.device}"


def budget_from_text(text: str) -> DeviceBudget:
    """Read one budget.

    Raises:
        NuwaError: If it is no finite number above 0, or nothing stands behind ``@``.
    """
    number, at, device = text.strip().partition("@")
    try:
        budget_ms = float(number)
    except ValueError:
        raise NuwaError(f"--budget-ms: wanted a number, found {number!r}", hint=_HINT) from None
    if not math.isfinite(budget_ms) or budget_ms <= 0:
        raise NuwaError(f"--budget-ms: wanted a finite number above 0, found {number}", hint=_HINT)
    if at and not device:
        raise NuwaError(f"--budget-ms {text}: no device stands behind the @", hint=_HINT)
    return DeviceBudget(budget_ms, device or None)


def budgets_from_texts(texts: Sequence[str]) -> tuple[DeviceBudget, ...]:
    """Read every ``--budget-ms`` of a command: one number, or one with a device each.

    Raises:
        NuwaError: If one cannot be read, there are several and not each names its device, or two name the same.
    """
    found = tuple(budget_from_text(text) for text in texts)
    if len(found) > 1:
        nameless = [one for one in found if one.device is None]
        if nameless:
            raise NuwaError(
                f"--budget-ms was given {len(found)} times, and {nameless[0].text} names no device", hint=_HINT
            )
    require_different(found)
    return found


def require_different(budgets: Sequence[DeviceBudget]) -> None:
    """Refuse two budgets of one device.

    Raises:
        NuwaError: If there are two; the message names the device.
    """
    seen: dict[str | None, DeviceBudget] = {}
    for one in budgets:
        if one.device in seen:
            raise NuwaError(
                f"two budgets for {one.device}: {seen[one.device].text} and {one.text}",
                hint="give each device one, and the lower where both are meant",
            )
        seen[one.device] = one


def said_budgets(budgets: Sequence[DeviceBudget]) -> str:
    """Write budgets in words: ``30 ms``, or ``30 ms on jetson-nano and 8 ms on jetson-orin-nano``."""
    if len(budgets) == 1:
        return f"{budgets[0].budget_ms:g} ms"
    return " and ".join(f"{one.budget_ms:g} ms on {one.device}" for one in budgets)
