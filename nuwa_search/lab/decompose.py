"""Decompose a base over several devices, from Python or the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.lab.values import plain_values
from nuwa_search.latency.devices.find import find_device
from nuwa_search.search.collaborate.request import DecomposeRequest
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.study_name import check_study, new_study

if TYPE_CHECKING:
    from nuwa_search.search.collaborate.answer import Decomposed
    from nuwa_search.store.store import Store


@dataclass(frozen=True)
class DecomposeBeginning:
    """What is run: a decomposition by name.

    Args:
        request: What is wanted; its folder is absolute.
        study: Its name.
    """

    request: DecomposeRequest
    study: str


def decompose_beginning(options: Mapping[str, Any], *, study: str | None) -> DecomposeBeginning:
    """Begin a decomposition; without a name it gets one, and without a folder it goes to ``runs/STUDY``.

    Raises:
        NuwaError: If devices or budget are missing, or a value cannot be.
    """
    values = plain_values(options)
    missing = [name for name in ("devices", "budget_ms") if name not in values]
    if missing:
        raise NuwaError(
            f"a decomposition needs {' and '.join(missing)}",
            hint="nuwa decompose --devices jetson-nano,jetson-nano --budget-ms 30",
        )
    if isinstance(values["devices"], str):
        values["devices"] = tuple(name.strip() for name in values["devices"].split(",") if name.strip())
    request = DecomposeRequest(**values)
    named = new_study("boards", request.budget_ms) if study is None else check_study(study)
    folder = expanded(request.output or f"runs/{named}").absolute()
    return DecomposeBeginning(replace(request, output=str(folder)), named)


def check_decompose(beginning: DecomposeBeginning, store: "Store") -> None:
    """Refuse unknown devices, networks and missing packages before anything heavy is loaded.

    Raises:
        NuwaError: With what is missing.
    """
    request = beginning.request
    for name in request.devices:
        find_device(name, store)
    require_demo(request.base, data=request.data)


def run_decomposition(beginning: DecomposeBeginning, *, store: "Store", cache_dir: Path, hooks: Hooks) -> "Decomposed":
    """Decompose, and record what came of it.

    Args:
        beginning: What is decomposed, new or resumed.
        store: The database.
        cache_dir: For statistics, libraries and checkpoints.
        hooks: Told how far it is.

    Raises:
        NuwaError: If input is wrong.
        NoAnswerError: If a sub-model finds nothing within its own budget.
        KeyboardInterrupt: On Ctrl-C; the same call goes on.
    """
    from nuwa_search.search.collaborate.decompose import run_decompose
    from nuwa_search.search.collaborate.run import DecomposeRun

    return run_decompose(DecomposeRun(beginning.request, store, beginning.study, cache_dir, hooks))
