"""A plan of nothing, for tests that only ask which request a dry run is of."""

from nuwa_search.search.job.search_plan import SearchPlan
from nuwa_search.search.job.time_estimate import TimeEstimate
from nuwa_search.search.stages import STAGES

NO_PLAN = SearchPlan({}, False, (), None, (), TimeEstimate(dict.fromkeys((*STAGES, "total"), 0.0), "", 0, 0))
