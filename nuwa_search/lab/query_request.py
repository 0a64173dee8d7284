"""What the database is asked for."""

from dataclasses import dataclass
from typing import Literal, get_args

Topic = Literal["subnets", "latencies", "studies", "devices", "certificates", "bundles", "collaborations"]
TOPICS: tuple[Topic, ...] = get_args(Topic)


@dataclass(frozen=True)
class QueryRequest:
    """Filters of a query; which of them say something about which answer is ``nuwa_search.lab.query_filters``.

    Args:
        device: Name or id of a device.
        max_ms: Largest latency in milliseconds.
        min_top1: Smallest accuracy, a fraction.
        classes: Exactly these classes, in any order.
        base: Name or id of a base.
        measured_only: Whether figures that are only predicted are left out.
        pareto: Only subnets that no other one of the same device and task beats.
        explain_budget: What the budget ``max_ms`` buys, and the next steps up and down.
        compare: Devices whose fronts are put side by side; two or more.
        model: Only this arch id, subnet id or hash of an ONNX file.
        sort: ``top1``, ``latency``, ``macs``, ``params`` or ``newest``.
        limit: Rows at most; None for all.
        sql: A read-only SELECT over the documented views, instead of a topic.
    """

    device: str | None = None
    max_ms: float | None = None
    min_top1: float | None = None
    classes: tuple[str, ...] | None = None
    base: str | None = None
    measured_only: bool = False
    pareto: bool = False
    explain_budget: bool = False
    compare: tuple[str, ...] | None = None
    model: str | None = None
    sort: str | None = None
    limit: int | None = None
    sql: str | None = None

    def kind(self, topic: str) -> str:
        """Name the answer: a key of ``query_filters.FILTERS``."""
        if self.sql is not None:
            return "SQL"
        if self.explain_budget and topic == "subnets":
            return "budgets"
        return "comparisons" if self.compare and topic == "devices" else topic
