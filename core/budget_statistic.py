"""Which statistic of a measured latency a budget compares."""

from typing import Literal, get_args

BudgetStatistic = Literal["median", "p95", "p99"]
BUDGET_STATISTICS: tuple[BudgetStatistic, ...] = get_args(BudgetStatistic)
