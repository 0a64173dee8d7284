"""Find one subnet by the search that everything else is found by, or read back what it found before."""

from pathlib import Path

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.deploy.bundle import Bundle, is_bundle, read_bundle
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.search import run_search
from nuwa_search.search.request import SearchRequest, request_from_dict
from nuwa_search.store.store import Store


def find_part(request: SearchRequest, *, what: str, study: str, store: Store, cache_dir: Path, hooks: Hooks) -> Bundle:
    """Search, go on with a search that was left, or read the bundle of one that is done.

    Args:
        request: What is asked for, with all options.
        what: Name of what is searched, for messages.
        study: Name of the search's study.
        store: The database.
        cache_dir: Folder of statistics, libraries and checkpoints.
        hooks: Callbacks that are told of progress.

    Raises:
        NoAnswerError: If nothing keeps its budget.
        NuwaError: If a study of that name was begun with other options.
        KeyboardInterrupt: On Ctrl-C, with everything saved.
    """
    folder, known = Path(request.bundle_dir), store.search(study)
    if known is not None and request_from_dict(known.settings) != request:
        raise NuwaError(
            f"study {study}, of {what}, was begun with other options", hint="give the decomposition another --study"
        )
    if known is not None and known.state == "done" and is_bundle(folder):
        hooks.step(f"{what}: found before, by study {study}")
        return read_bundle(folder)
    hooks.step(f"{what}: {request.budget_ms:g} ms on {request.device}, study {study}")
    outcome = run_search(request, store=store, study=study, resume=known is not None, cache_dir=cache_dir, hooks=hooks)
    if outcome.error is not None:
        raise NoAnswerError(
            f"{what} finds nothing: {outcome.error.message}",
            hint="give a larger --budget-ms, fewer --sub-models, or faster devices",
        )
    return read_bundle(folder)
