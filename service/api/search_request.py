"""A search that a client asks for, checked before it is queued."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nuwa_search.core.errors import NuwaError
from nuwa_search.service.api.context import Word
from nuwa_search.service.api.problems import FieldProblem, HttpError
from nuwa_search.service.api.roots import base_from_client, data_from_client, path_inside
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.workflow.devices import find_device
from nuwa_search.service.workflow.request import (
    STUDY_PATTERN,
    SearchRequest,
    dict_from_request,
    new_study,
    request_from_dict,
)
from nuwa_search.store.store import Store

MAX_SEED = 2**31 - 1
MAX_CLASSES = 1000
"""ImageNet's; also what a request body holds."""

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Duration(BaseModel):
    """How long a search runs: what may be changed when it is resumed."""

    model_config = ConfigDict(extra="forbid")

    trials: Count | None = None
    timeout_s: Positive | None = None
    finetune_steps: Count | None = None
    finetune_epochs: Positive | None = None


class NewSearch(BaseModel):
    """The settings of `nuwa-search`; all but the budget have defaults."""

    model_config = ConfigDict(extra="forbid")

    budget_ms: Positive
    study: Annotated[str, Field(pattern=STUDY_PATTERN)] | None = None
    output: Word | None = None
    device: Word = "jetson-nano"
    base: Word = "default"
    data: Word | None = None
    label_column: Word | None = None
    classes: Annotated[list[Word], Field(min_length=2, max_length=MAX_CLASSES)] | None = None
    budget_statistic: Literal["median", "p95", "p99"] = "median"
    max_memory_mb: Positive | None = None
    trials: Count = 60
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    timeout_s: Positive | None = None
    sampler: Literal["auto", "tpe", "nsga2", "nsga3", "random", "gp"] = "auto"
    finetune_epochs: Positive | None = None
    finetune_steps: Count | None = None
    predictor_id: Word | None = None
    judge: Annotated[int, Field(ge=1, le=100)] = 1
    small_model_steps: Count | None = None
    pareto: bool = False
    explain: bool = False
    finetune: bool = True
    deploy: bool = True
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0


DEFAULTS = {name: field.default for name, field in NewSearch.model_fields.items() if not field.is_required()}


def request_from_client(wanted: NewSearch, store: Store, settings: ServiceSettings) -> tuple[str, dict[str, Any]]:
    """Check names and paths; return the study's name and the request as JSON.

    Raises:
        HttpError: 422, if a name is unknown or a path lies outside the roots.
    """
    study = wanted.study or new_study(wanted.device, wanted.budget_ms)
    check_device(wanted.device, store)
    if wanted.predictor_id is not None:
        _check_predictor(wanted.predictor_id, store)
    values = wanted.model_dump(exclude={"study", "output"})
    values["base"] = base_from_client(wanted.base, settings)
    values["data"] = data_from_client(wanted.data, settings)
    values["bundle_dir"] = str(path_inside(wanted.output or study, settings.roots, where="body.output"))
    if values["bundle_dir"] in {str(root) for root in settings.roots}:
        raise _wrong("body.output", "a bundle needs a folder of its own below the root")
    if wanted.classes is not None:
        values["classes"] = tuple(wanted.classes)
    try:
        return study, dict_from_request(SearchRequest(**values))
    except NuwaError as error:
        raise HttpError(
            422, error.message, hint=error.hint, errors=[FieldProblem(where="body.data", what=error.message)]
        ) from error


def check_stored_paths(request: dict[str, Any], settings: ServiceSettings) -> None:
    """Refuse to go on with a search whose paths lie outside the roots: it was started from elsewhere.

    Raises:
        HttpError: 409, with the command that goes on with it.
    """
    try:
        asked = request_from_dict(request)
    except (NuwaError, TypeError) as error:
        raise HttpError(409, f"this search's settings are not of this version: {error}") from error
    try:
        base_from_client(asked.base, settings)
        data_from_client(asked.data, settings)
        path_inside(asked.bundle_dir, settings.roots, where="bundle_dir")
        if not asked.bundle_dir:
            raise _wrong("bundle_dir", "it names no folder for its bundle")
    except HttpError as error:
        raise HttpError(
            409, f"this search was started outside the service's data roots: {error.detail}", hint=error.hint
        ) from error


def check_device(name: str, store: Store) -> None:
    """Refuse a device that nobody knows.

    Raises:
        HttpError: 422, with the known ones.
    """
    if name == "cuda":
        return  # only the worker can tell whether there is one
    try:
        find_device(name, store)
    except NuwaError as error:
        raise HttpError(
            422, error.message, hint=error.hint, errors=[FieldProblem(where="body.device", what=error.message)]
        ) from error


def _check_predictor(predictor_id: str, store: Store) -> None:
    try:
        store.load_predictor(predictor_id)
    except NuwaError as error:
        raise _wrong("body.predictor_id", error.message) from error


def _wrong(where: str, what: str) -> HttpError:
    return HttpError(422, f"{where}: {what}", errors=[FieldProblem(where=where, what=what)])
