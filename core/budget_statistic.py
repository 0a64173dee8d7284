"""Which statistic of a measured latency a budget compares."""

from typing import Literal, get_args

BudgetStatistic = Literal["median", "p95", "p99", "sustained"]
BUDGET_STATISTICS: tuple[BudgetStatistic, ...] = get_args(BudgetStatistic)

SUSTAINED_S = 600.0
"""Seconds of load after which the level counts as sustained: a passively cooled board settles in a few minutes."""
