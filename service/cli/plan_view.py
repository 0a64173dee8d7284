"""What a dry run of a search shows."""

from collections.abc import Mapping

from nuwa_search.core.img_size import size_words
from nuwa_search.search.job.search_plan import BaseLatency, SearchPlan
from nuwa_search.search.job.time_estimate import TimeEstimate
from nuwa_search.search.request import SearchRequest, dict_from_request
from nuwa_search.search.stages import STAGES
from nuwa_search.service.cli.figures import interval, milliseconds
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.progress import time_text

FEW_CLASSES = 12
"""Up to so many classes each has its number of images on the terminal; of more, the least and the most are shown."""


def show_plan(plan: SearchPlan, request: SearchRequest, study: str, output: Output) -> None:
    """Print the `nuwa.search-plan/1` document, or the options and what would come of them as rows.

    Args:
        plan: What the search would do.
        request: What was asked for.
        study: Name of the study.
        output: Where it is printed, and in which format.
    """
    options = dict_from_request(request)
    for note in plan.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.search-plan/1", "study": study, **options, **plan.to_json()})
        return
    head = "fitted to your classes: the base does not know them" if plan.head_fitted else "the base's own rows"
    rows = {"study": study, **options}
    rows |= {f"{split} images": _counts(counts) for split, counts in plan.num_images.items()}
    rows |= {"image sizes searched": ", ".join(f"{size_words(size)} px" for size in plan.img_sizes)}
    rows |= {"head": head, **_latencies(plan, request), "time": _time(plan.time)}
    output.table([{"setting": name, "value": value} for name, value in rows.items()])


def _counts(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if len(counts) <= FEW_CLASSES:
        return f"{total}: {', '.join(f'{name} {number}' for name, number in counts.items())}"
    return f"{total}: {min(counts.values())} to {max(counts.values())} in each of {len(counts)} classes"


def _latencies(plan: SearchPlan, request: SearchRequest) -> dict[str, str]:
    """Write the base's latency on each device."""
    known = {one.device: one for one in plan.base_latencies}
    told = {
        one.device or "": _latency(known.get(one.device or ""), one.device, request.base)
        for one in request.device_budgets
    }
    if len(told) == 1:
        return {"base's latency": told[request.device]}
    return {f"base's latency on {device}": words for device, words in told.items()}


def _latency(found: BaseLatency | None, device: str | None, base: str) -> str:
    if found is None:
        return f"not known: nuwa profile {device} --base {base}"
    ends = found.predicted_interval_ms
    how = "by the emulator on its graph" if ends is None else f"({interval(ends)}) by the stored latency predictor"
    rest = "" if found.budget_binds else f"; it meets {found.budget_ms:g} ms already"
    return f"{milliseconds(found.predicted_latency_ms)} predicted {how}{rest}"


def _time(found: TimeEstimate) -> str:
    """Render the estimate: ``about 3 min 20 s: study 80 s, …; from 16 timed images``."""
    total = found.seconds["total"]
    stages = [f"{stage} {value:.0f} s" for stage in STAGES if (value := found.seconds[stage])]
    known = f"about {time_text(total)}" if total is not None else "not known in all"
    earlier = "search" if found.num_searches == 1 else "searches"
    of = f"{found.num_searches} earlier {earlier}" if found.num_searches else ""
    timed = f"{found.num_decoded} timed images" if found.num_decoded else ""
    return f"{known}: {', '.join(stages)}; from {' and '.join(filter(None, (of, timed)))}"
