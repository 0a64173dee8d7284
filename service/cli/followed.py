"""``--log-to``: a job's callbacks, told to a tracking tool too."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nuwa_search.lab.event import hooks_of
from nuwa_search.search.hooks import Hooks, joined

Result = Callable[[Mapping[str, float | int | None]], None]


@contextmanager
def followed(
    place: str | None, hooks: Hooks, *, name: str, settings: Mapping[str, Any]
) -> Iterator[tuple[Hooks, Result]]:
    """Open a run in the tool that ``--log-to`` names, if it names one.

    Args:
        place: ``NAME[:WHERE]``; None follows nothing.
        hooks: Callbacks of the terminal.
        name: Name of the run.
        settings: What the job was asked for; of lists, the words with commas between.

    Yields:
        The callbacks that the job is given, and what takes its result.
    """
    if place is None:
        yield hooks, lambda _: None
        return
    from nuwa_search.lab.tracking.track import track

    plain = {key: ",".join(value) if isinstance(value, list | tuple) else value for key, value in settings.items()}
    with track(place, name=name, settings=plain) as run:
        yield joined(hooks, hooks_of(run)), run.result
