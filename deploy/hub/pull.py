"""Pull a bundle or a base from the Hub into a folder, as it was pushed."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.base_folder import CONFIG, facts_of_folder
from nuwa_search.core.documents import read_object, read_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.licence import UNKNOWN, licence_of_folder
from nuwa_search.deploy.bundle import README, is_bundle, programs_of, read_bundle
from nuwa_search.deploy.file_hashes import compare_hashes, hash_file
from nuwa_search.deploy.hub.card import without_front_matter
from nuwa_search.deploy.hub.repository import hub_errors, repository_from_text

_ASSETS_DIR = Path(__file__).parents[1] / "assets"
_CLIENT_FILES = (".cache", ".gitattributes")
"""What the Hub and its client put beside the files."""


@dataclass(frozen=True, kw_only=True)
class PullAnswer(JsonFields):
    """What was pulled: the ``nuwa.pull/1`` answer without its schema.

    Args:
        repository: ``OWNER/NAME``.
        revision: Revision that was asked for; None for the newest.
        kind: ``bundle`` or ``base``.
        dir: Where it lies.
        licence: Of the base; ``unknown`` where nobody says.
        is_certified: Whether every file is as the bundle's certificate has it; None for a base, and for a bundle that
            has none.
        notes: What a person should know of it, in sentences.
    """

    repository: str
    revision: str | None
    kind: str
    dir: Path
    licence: str
    is_certified: bool | None
    notes: tuple[str, ...]


def pull_folder(repository: str, folder: Path) -> PullAnswer:
    """Fetch a repository, check what it is, and move it into place; nothing of it is run.

    Args:
        repository: ``OWNER/NAME[@REVISION]``, with ``hf-hub:`` before it or not.
        folder: Where it goes; must not exist, or be empty.

    Raises:
        NuwaError: If the folder is taken, or the repository holds neither a bundle nor a base, or a damaged one.
        OutsideError: If the Hub cannot be reached or holds no such repository.
    """
    name, revision = repository_from_text(repository)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise NuwaError(f"{folder} is there already", hint="choose another folder with -o")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        fresh.chmod(0o755)  # mkdtemp makes it private
        _fetch(name, revision, fresh)
        answer = _checked(fresh, name=name, revision=revision, folder=folder)
        if folder.exists():
            folder.rmdir()
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return answer


def _fetch(name: str, revision: str | None, fresh: Path) -> None:
    from huggingface_hub import snapshot_download

    with hub_errors(name, doing="pulled"):
        snapshot_download(name, revision=revision, local_dir=str(fresh), library_name="nuwa-search")
    for file in _CLIENT_FILES:
        path = fresh / file
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _checked(fresh: Path, *, name: str, revision: str | None, folder: Path) -> PullAnswer:
    if not is_bundle(fresh):
        if not (fresh / CONFIG).is_file():
            raise NuwaError(
                f"{name} holds neither a bundle nor a base", hint="a bundle holds arch.json, a base config.json"
            )
        facts_of_folder(fresh)
        licence = licence_of_folder(fresh, read_object(fresh / CONFIG, what="config of a base")).name
        return PullAnswer(
            repository=name,
            revision=revision,
            kind="base",
            dir=folder,
            licence=licence,
            is_certified=None,
            notes=_licence_note(licence),
        )
    card = fresh / README
    if card.is_file():
        card.write_bytes(without_front_matter(read_text(card, what="model card")).encode())
    bundle = read_bundle(fresh)
    licence = bundle.facts.base_licence or UNKNOWN
    changes = compare_hashes(fresh, bundle.certificate.files) if bundle.certificate is not None else None
    notes = list(_licence_note(licence))
    if changes is not None and not changes.is_intact:
        notes.append("not as certified: " + ", ".join([*changes.changed, *changes.missing]))
    programs = programs_of(bundle.arch)
    other = [name for name, asset in programs.items() if _is_other(fresh / name, asset)]
    if other:
        notes.append(f"{', '.join(other)} are not the programs of this version: look at them before you run them")
    return PullAnswer(
        repository=name,
        revision=revision,
        kind="bundle",
        dir=folder,
        licence=licence,
        is_certified=None if changes is None else changes.is_intact,
        notes=tuple(notes),
    )


def _licence_note(licence: str) -> tuple[str, ...]:
    return ("the licence of the base is unknown: ask whoever made it",) if licence == UNKNOWN else ()


def _is_other(path: Path, asset: str) -> bool:
    return path.is_file() and hash_file(path) != hash_file(_ASSETS_DIR / asset)
