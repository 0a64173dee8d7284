"""A plan of nothing, for tests that only ask which request a dry run is of."""

from nuwa_search.search.stages import STAGES
from nuwa_search.service.workflow.search_plan import SearchPlan
from nuwa_search.service.workflow.time_estimate import TimeEstimate

NO_PLAN = SearchPlan({}, False, (), None, (), TimeEstimate(dict.fromkeys((*STAGES, "total"), 0.0), "", 0, 0))
