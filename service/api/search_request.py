"""A search that a client asks for or resumes, checked before it is queued."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from nuwa_search.core.budget import require_statistic
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.device_budget import DeviceBudget, budget_from_text, require_different
from nuwa_search.search.job.moved_on import require_origin
from nuwa_search.search.option import Option
from nuwa_search.search.request import OPTIONS, SearchRequest, dict_from_request, request_from_dict, require_classes
from nuwa_search.search.resume import FixedOptionError, resumed_request
from nuwa_search.search.study_name import STUDY_PATTERN, new_study
from nuwa_search.service.api.problems import FieldProblem, HttpError
from nuwa_search.service.api.request_model import StrictBody, model_from_options
from nuwa_search.service.api.roots import base_from_client, data_from_client, path_inside
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store
from nuwa_search.store.studies import StudyRecord

if TYPE_CHECKING:

    class NewSearch(StrictBody):
        """The settings of `nuwa-search`; all but the budget have defaults."""

        study: str | None

    class SearchChanges(StrictBody):
        """What a search goes on with."""
else:
    NewSearch = model_from_options(
        "NewSearch",
        OPTIONS,
        doc="The settings of `nuwa-search`; all but the budget have defaults.",
        is_change=False,
        more={"study": (Annotated[str, Field(pattern=STUDY_PATTERN)] | None, None)},
    )
    SearchChanges = model_from_options(
        "SearchChanges",
        OPTIONS,
        doc="What a search goes on with: how long it runs may change; anything else must be as it was.",
        is_change=True,
    )

DEFAULTS = {
    option.client_name: option.default
    for option in OPTIONS.values()
    if option.is_for_clients and not option.is_needed and option.kind != "folder"
}
"""Of the settings that a client may leave out; a folder's follows from the study."""


def request_from_client(wanted: NewSearch, store: Store, settings: ServiceSettings) -> tuple[str, dict[str, Any]]:
    """Check names and paths; return the study's name and the request as JSON.

    Raises:
        HttpError: 422, if a name is unknown or a path lies outside the roots.
    """
    said = wanted.model_dump(exclude={"study"})
    study = wanted.study or new_study(said["device"], said["budget_ms"])
    said["output"] = said["output"] or study
    fields = fields_from_client(said, store, settings)
    where = "body.more_budgets"
    try:
        first = DeviceBudget(fields["budget_ms"], fields["device"])
        require_different([first, *map(budget_from_text, fields["more_budgets"])])
        where = "body.classes"
        require_classes(fields["classes"], task=fields["task"], data=fields["data"])
        where = "body.data"
        request = SearchRequest(**fields)
        where = "body.from_study"
        require_origin(request, store)
        return study, dict_from_request(request)
    except NuwaError as error:
        problem = FieldProblem(where=where, what=error.message)
        raise HttpError(422, error.message, hint=error.hint, errors=[problem]) from error


def resumed_from_client(
    changes: SearchChanges | None, record: StudyRecord, store: Store, settings: ServiceSettings
) -> dict[str, Any]:
    """Return the request that a search goes on with, as JSON.

    Args:
        changes: Settings that the client wants changed; None for none.
        record: The stored search.
        store: The database.
        settings: Settings of the service: data roots and whether the Hub may be named.

    Raises:
        HttpError: 409, if its own paths lie outside the roots or its settings are not of this version; 422, if a
            setting that cannot be changed is given otherwise than it was, or a name is unknown.
    """
    stored = stored_request(record.settings, settings)
    given = fields_from_client(changes.model_dump(exclude_none=True) if changes else {}, store, settings)
    try:
        return dict_from_request(resumed_request(stored, given, study=record.study, predictor_id=record.predictor_id))
    except FixedOptionError as error:
        name = error.option.client_name
        what = f"this search was started with {json.dumps(error.began)}, not {json.dumps(error.wanted)}"
        raise HttpError(
            422,
            f"body.{name}: {what}",
            hint=f"leave {name} out to resume, or start another search",
            errors=[FieldProblem(where=f"body.{name}", what=what)],
        ) from error


def fields_from_client(said: Mapping[str, Any], store: Store, settings: ServiceSettings) -> dict[str, Any]:
    """Check what a client named, and return it by field of a request.

    Raises:
        HttpError: 422, if a name is unknown or a path lies outside the roots.
    """
    fields = {}
    for name, option in OPTIONS.items():
        if option.client_name not in said:
            continue
        value = said[option.client_name]
        if option.kind == "device":
            check_device(value, store)
        elif option.kind == "budgets":
            _check_budgets(value, store)
        elif name == "predictor_id" and value is not None:
            _check_predictor(value, store)
        elif name == "base":
            value = base_from_client(value, settings)
        elif name == "data":
            value = data_from_client(value, settings)
        elif option.kind in ("side", "sides"):
            value = size_from_client(option, value)
        elif option.kind == "folder":
            value = _folder_from_client(value, settings, where=f"body.{option.client_name}")
        fields[name] = tuple(value) if isinstance(value, list) else value
    if fields.get("budget_statistic") == "sustained":
        for device in (fields.get("device") or OPTIONS["device"].default, *_devices_of(fields.get("more_budgets", ()))):
            _check_sustained(str(device), store)
    return fields


def size_from_client(option: Option, value: Any) -> Any:
    """Read the size, or the sizes, of an image.

    Raises:
        HttpError: 422, if one is not a valid size.
    """
    try:
        return option.settled(value)
    except NuwaError as error:
        raise _wrong(f"body.{option.client_name}", error.message) from error


def stored_request(request: Mapping[str, Any], settings: ServiceSettings) -> SearchRequest:
    """Read a search's settings, and refuse to go on where its paths lie outside the roots: it was started elsewhere.

    Raises:
        HttpError: 409, with the command that goes on with it.
    """
    try:
        asked = request_from_dict(request)
    except NuwaError as error:
        raise HttpError(409, f"this search's settings are not of this version: {error}", hint=error.hint) from error
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
    return asked


def _devices_of(budgets: Sequence[str]) -> list[str]:
    return [one.device for one in map(budget_from_text, budgets) if one.device is not None]


def _check_budgets(texts: Sequence[str], store: Store) -> None:
    """Refuse further budgets that cannot be read, or whose device nobody knows."""
    where = "body.more_budgets"
    try:
        for text in texts:
            if budget_from_text(text).device is None:
                raise NuwaError(f"{text} names no device", hint="such as 8@jetson-orin-nano")
    except NuwaError as error:
        raise _wrong(where, error.message) from error
    for device in _devices_of(texts):
        check_device(device, store, where=where)


def _check_sustained(device: str, store: Store) -> None:
    if device == "cuda":
        return
    try:
        require_statistic("sustained", find_device(device, store))
    except NuwaError as error:
        where = "body.budget_statistic"
        raise HttpError(
            422, error.message, hint=error.hint, errors=[FieldProblem(where=where, what=error.message)]
        ) from error


def check_device(name: str, store: Store, *, where: str = "body.device") -> None:
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
            422, error.message, hint=error.hint, errors=[FieldProblem(where=where, what=error.message)]
        ) from error


def _folder_from_client(text: str, settings: ServiceSettings, *, where: str) -> str:
    folder = str(path_inside(text, settings.roots, where=where))
    if folder in {str(root) for root in settings.roots}:
        raise _wrong(where, "a bundle needs a folder of its own below the root")
    return folder


def _check_predictor(predictor_id: str, store: Store) -> None:
    try:
        store.load_predictor(predictor_id)
    except NuwaError as error:
        raise _wrong("body.predictor_id", error.message) from error


def _wrong(where: str, what: str) -> HttpError:
    return HttpError(422, f"{where}: {what}", errors=[FieldProblem(where=where, what=what)])
