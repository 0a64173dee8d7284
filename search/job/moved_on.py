"""A study that another version of the emulator priced goes on under another name, from what it scored.

Latencies of two emulators never stand in one study: they would be compared. What a study scored does not depend on the
device, so the study that goes on proposes the same subnets first, and predicts and measures them by this emulator.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.emulator import EMULATOR_VERSION, device_label, emulator_version, is_outdated
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.request import SearchRequest
from nuwa_search.search.study_name import check_study
from nuwa_search.store.records import SearchRecord
from nuwa_search.store.store import Store

_SUFFIX = "-emulator-"


@dataclass(frozen=True)
class MovedOn:
    """How a study of an earlier emulator goes on.

    Args:
        study: Name that it goes on under.
        origin: The study as the earlier emulator left it; it stays as it is.
        label: Device of ``origin``.
        is_begun: Whether it went on already, and is now resumed like any other.
    """

    study: str
    origin: SearchRecord
    label: str
    is_begun: bool

    @property
    def note(self) -> str:
        """Sentence for the user about what happens."""
        return (
            f"study {self.origin.study!r} was priced by {self.label}, and this program has another version of the "
            f"emulator: it goes on as study {self.study!r}, which predicts anew and scores first what was scored there"
        )

    def begin(self, request: SearchRequest) -> SearchRequest:
        """Change the request of ``origin`` so that the study goes on: a pinned predictor is of the other emulator.

        The bundle of a finished study is left alone, and the other goes beside it.
        """
        folder = request.bundle_dir
        if self.origin.state == "done" and folder:
            folder = str(Path(folder).with_name(f"{Path(folder).name}{_SUFFIX}{EMULATOR_VERSION}"))
        return dataclasses.replace(request, from_study=self.origin.study, predictor_id=None, bundle_dir=folder)


def moved_on(study: str, store: Store) -> MovedOn | None:
    """Return how a stored study goes on if another emulator priced it; None where it goes on under its own name.

    Raises:
        NuwaError: If the name that it would go on under is another study's.
    """
    origin = store.search(study)
    if origin is None:
        return None
    spec = next(record.spec for record in store.devices() if record.spec.device_id == origin.device_id)
    if not is_outdated(spec):
        return None
    plain = study.removesuffix(f"{_SUFFIX}{emulator_version(spec)}")
    name = check_study(f"{plain}{_SUFFIX}{EMULATOR_VERSION}")
    there = store.search(name)
    if there is not None and there.settings.get("from_study") != study:
        raise NuwaError(
            f"study {study!r} was priced by {device_label(spec)} and would go on as {name!r}, which is another study",
            hint=f"go on by hand: nuwa-search --from-study {study} --study NAME, with the options of {study}",
        )
    return MovedOn(name, origin, device_label(spec), there is not None)


def require_origin(request: SearchRequest, store: Store) -> None:
    """Refuse a request whose first subnets are those of a study that is not there.

    Raises:
        NuwaError: If there is no such study; the hint is the command that lists studies.
    """
    if request.from_study is not None and store.search(request.from_study) is None:
        raise NuwaError(f"--from-study: there is no study {request.from_study!r}", hint="nuwa query studies lists them")
