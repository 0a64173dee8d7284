"""Shapes of the answers, for the description of the API; what they do not name may be there too."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonDict = dict[str, Any]
StateName = Literal["queued", "running", "done", "infeasible", "interrupted", "failed"]


class Answer(BaseModel):
    """One document; ``schema`` says which."""

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    schema_name: Annotated[str, Field(alias="schema")]


class Rows(Answer):
    """A list."""

    rows: list[JsonDict]
    count: int


class PagedRows(Rows):
    """A page of a list; ``next_offset`` is null on the last."""

    next_offset: int | None


class ListedSubnet(BaseModel):
    """A subnet on a device, as `nuwa query --json` gives it."""

    model_config = ConfigDict(extra="allow")

    subnet_id: str
    arch_id: str
    device: str | None
    device_id: str | None
    predicted_latency_ms: float | None
    predicted_interval_ms: list[float] | None
    measured_latency_ms: float | None
    provenance: str | None
    top1: float | None
    top1_interval: list[float] | None
    split: str | None
    num_images: int | None
    classes: list[str]
    base: str
    study: str | None
    bundle_is_missing: bool


class SubnetRows(Answer):
    """A page of subnets."""

    rows: list[ListedSubnet]
    count: int
    next_offset: int | None


class StudyBudget(BaseModel):
    """What a model may take on one device of a search."""

    device: str
    budget_ms: float


class Study(BaseModel):
    """A search in a list; ``device`` and ``budget_ms`` are the first of ``budgets``."""

    model_config = ConfigDict(extra="allow")

    study: str
    state: StateName
    is_alive: bool
    device: str
    device_id: str | None
    budget_ms: float
    budgets: list[StudyBudget]
    seed: int
    base: str
    data: str | None
    classes: list[str] | None
    task_id: str | None
    predictor_id: str | None
    job_id: str | None
    verdict: str | None
    subnet_id: str | None
    created_at: str
    finished_at: str | None


class StudyRows(Answer):
    """A page of searches."""

    rows: list[Study]
    count: int
    next_offset: int | None


class StudyAnswer(Study):
    """One search with everything that is known of it."""

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    schema_name: Annotated[str, Field(alias="schema")]
    settings: JsonDict
    result: JsonDict | None
    problem: JsonDict | None
    job: JsonDict | None
    latest: dict[str, JsonDict | None]
    progress: JsonDict
    can_cancel: bool
    can_resume: bool


class JobAnswer(Answer):
    """A job with what it was asked for."""

    job_id: str
    kind: str
    state: StateName
    device: str
    base: str
    attempts: int
    is_cancel_wanted: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    result: JsonDict | None
    problem: JsonDict | None
    can_cancel: bool
    can_resume: bool


class BundleJobAnswer(JobAnswer):
    """The making of a bundle as a job."""

    subnet_id: str
    budget_ms: float | None


class ListedEvent(BaseModel):
    """One event."""

    number: int
    kind: str
    study: str
    at: str
    data: JsonDict


class EventRows(Answer):
    """Events, oldest first; ``next_after`` goes on behind the last."""

    rows: list[ListedEvent]
    count: int
    next_after: int


class TrialRows(PagedRows):
    """Proposals of a search."""

    study: str
    budget_ms: float
    reference: JsonDict | None


class Access(Answer):
    """Whether a token is wanted, and whether this client has shown it."""

    needs_token: bool
    is_open: bool
