"""The query parameters of a list of subnets."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Query

from nuwa_search.service.api.context import ClassList, Milliseconds, Share, Word, classes_from_text
from nuwa_search.store.wanted import SubnetFilter

Sort = Literal["top1", "latency", "macs", "params", "newest"]


@dataclass(frozen=True)
class SubnetQuery:
    """Which subnets, and in what order; each field is a query parameter."""

    device: Annotated[Word | None, Query(description="Name or id of a device")] = None
    max_ms: Milliseconds | None = None
    min_top1: Share | None = None
    classes: Annotated[ClassList | None, Query(description="Exactly these, as a,b,c")] = None
    task_id: Word | None = None
    base: Annotated[Word | None, Query(description="Name or id of a base")] = None
    measured_only: bool = False
    pareto: bool = False
    sort: Sort = "top1"

    @property
    def wanted(self) -> SubnetFilter:
        """The filter that it names."""
        return SubnetFilter(
            device=self.device,
            max_ms=self.max_ms,
            min_top1=self.min_top1,
            classes=classes_from_text(self.classes),
            task_id=self.task_id,
            base=self.base,
            measured_only=self.measured_only,
        )


SubnetQueryOf = Annotated[SubnetQuery, Depends()]
