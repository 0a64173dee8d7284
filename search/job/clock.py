"""Seconds of each stage of a search."""

import time

from nuwa_search.search.stages import STAGES

OLDER_KEYS = {"derive": ("statistics",), "search": ("cuts", "study", "refine"), "deploy": ("export", "verify")}
"""Sums of stages that answers gave before the stages had names; ``profile`` and ``finetune`` are both."""


class StageClock:
    """Adds up wall time by stage; a stage ends where the next one begins."""

    def __init__(self) -> None:
        self._spent_s = dict.fromkeys(STAGES, 0.0)
        self._begun_s = self._stage_s = time.monotonic()
        self._stage = ""

    def stage(self, name: str) -> None:
        """Count the time from now on towards ``name``, which may come again."""
        now_s = time.monotonic()
        if self._stage:
            self._spent_s[self._stage] += now_s - self._stage_s
        self._stage, self._stage_s = name, now_s

    def seconds(self) -> dict[str, float]:
        """Return the seconds spent so far, to 10 ms: by stage (0 for those not run), by older key, and in all."""
        self.stage(self._stage)
        older = {key: sum(self._spent_s[name] for name in names) for key, names in OLDER_KEYS.items()}
        spent = {**self._spent_s, **older, "total": time.monotonic() - self._begun_s}
        return {name: round(seconds, 2) for name, seconds in spent.items()}
