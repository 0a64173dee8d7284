"""Search from Python: a new study, or one that goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.suggest import unknown_name
from nuwa_search.lab.values import plain_values
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.request import OPTIONS, SearchRequest, request_from_dict
from nuwa_search.search.resume import resumed_request
from nuwa_search.search.study_name import check_study, new_study

if TYPE_CHECKING:
    from nuwa_search.lab.found import Found
    from nuwa_search.store.store import Store


@dataclass(frozen=True)
class SearchBeginning:
    """What is run: a study by name, new or stored.

    Args:
        request: What is wanted.
        study: Name of the study.
        resume: Whether it goes on with what is stored.
        notes: What is to be said of it, in sentences.
    """

    request: SearchRequest
    study: str
    resume: bool
    notes: tuple[str, ...] = ()


def fields_from_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Turn what was given by the names of the API into fields of a request.

    Raises:
        NuwaError: If one is no option of a search.
    """
    names = {option.client_name: name for name, option in OPTIONS.items()}
    fields = {}
    for word, value in plain_values(keywords).items():
        if word not in names:
            raise unknown_name("option of a search", word, list(names))
        option = OPTIONS[names[word]]
        is_folder = option.kind == "folder" and isinstance(value, str)
        fields[option.name] = option.value_of_flag(value) if is_folder else value
    return fields


def new_beginning(fields: Mapping[str, Any], *, study: str | None) -> SearchBeginning:
    """Begin a study; without a name it gets one, and without a folder its bundle goes to ``runs/STUDY``.

    Args:
        fields: Of the request.
        study: Its name.

    Raises:
        NuwaError: If no budget is given, or an option cannot have its value.
    """
    if "budget_ms" not in fields:
        raise NuwaError("a search needs a budget", hint="lab.search(budget_ms=30), or study=… and resume=True")
    device = fields.get("device", SearchRequest.device)
    named = new_study(device, fields["budget_ms"]) if study is None else check_study(study)
    folder = fields.get("bundle_dir") or OPTIONS["bundle_dir"].value_of_flag(f"runs/{named}")
    return SearchBeginning(SearchRequest(**{**fields, "bundle_dir": folder}), named, resume=False)


def stored_beginning(store: "Store", study: str | None, given: Mapping[str, Any]) -> SearchBeginning:
    """Read the request of the study to go on with, changed where that is said and may be changed.

    Args:
        store: The database.
        study: Its name.
        given: Fields that are said anew.

    Raises:
        NuwaError: If there is no such study, or what is said anew decides what it found.
    """
    if study is None:
        unfinished = [s.study for s in store.searches() if s.state in ("interrupted", "failed", "running")]
        hint = f"--study {unfinished[0]}" if unfinished else "nuwa query studies lists them"
        raise NuwaError("--resume needs the name of the study", hint=hint)
    from nuwa_search.search.job.moved_on import moved_on

    moved = moved_on(study, store)
    notes: tuple[str, ...] = ()
    if moved is not None:
        notes, study = (moved.note,), moved.study
    record = moved.origin if moved is not None and not moved.is_begun else store.search(study)
    if record is None:
        raise NuwaError(f"there is no study {study!r} to resume", hint="nuwa query studies lists them")
    stored = request_from_dict(record.settings)
    request = resumed_request(stored, given, study=record.study, predictor_id=record.predictor_id)
    if moved is not None and not moved.is_begun:
        return SearchBeginning(moved.begin(request), study, resume=False, notes=notes)
    return SearchBeginning(request, study, resume=True, notes=notes)


def check_beginning(beginning: SearchBeginning, store: "Store") -> None:
    """Refuse unknown devices and missing packages before anything heavy is loaded.

    Raises:
        NuwaError: With what is missing.
    """
    request = beginning.request
    for asked in request.device_budgets:
        find_device(asked.device or request.device, store)
    require_demo(request.base, data=request.data)


def run_beginning(beginning: SearchBeginning, *, store: "Store", cache_dir: Path, hooks: Hooks) -> "Found":
    """Search, and return what was found.

    Args:
        beginning: What is searched, new or resumed.
        store: The database.
        cache_dir: For statistics, libraries and checkpoints.
        hooks: Told how far it is.

    Raises:
        NuwaError: If input is wrong or the study runs elsewhere.
        NoSubnetError: If no subnet keeps the budget.
        KeyboardInterrupt: On Ctrl-C, with everything saved.
    """
    from nuwa_search.lab.found import found_from_outcome
    from nuwa_search.search.job.search import run_search

    return found_from_outcome(
        run_search(
            beginning.request,
            store=store,
            study=beginning.study,
            resume=beginning.resume,
            cache_dir=cache_dir,
            hooks=hooks,
        )
    )
