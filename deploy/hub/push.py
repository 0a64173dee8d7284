"""Push a bundle or a base folder to the Hub, in one commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.base_folder import CONFIG, facts_of_folder
from nuwa_search.core.checkpoint_files import INDEX_SUFFIX, files_of_index, find_weights
from nuwa_search.core.documents import read_object, read_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.licence import CARD, UNKNOWN, licence_of_folder
from nuwa_search.deploy.bundle import DEVICES, OWN_NAMES, README, SAMPLES, is_bundle, read_bundle
from nuwa_search.deploy.compared_names import COMPARED
from nuwa_search.deploy.file_hashes import compare_hashes
from nuwa_search.deploy.hub.card import base_card, bundle_card
from nuwa_search.deploy.hub.repository import hub_errors, repository_from_text
from nuwa_search.deploy.lost_names import LOST


@dataclass(frozen=True, kw_only=True)
class PushAnswer(JsonFields):
    """What was pushed: the ``nuwa.push/1`` answer without its schema.

    Args:
        repository: ``OWNER/NAME``.
        kind: ``bundle`` or ``base``.
        files: Names of what goes along.
        size_mb: Of all of them.
        licence: Of the base; ``unknown`` where nobody says.
        is_private: Whether a repository that is made now is seen by its owner alone.
        url: Of the commit; None where nothing was pushed.
        notes: What a person should know before, in sentences.
    """

    repository: str
    kind: str
    files: tuple[str, ...]
    size_mb: float
    licence: str
    is_private: bool
    url: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """What is pushed.

    Args:
        kind: ``bundle`` or ``base``.
        files: Paths by their names in the repository.
        card: The model card.
        licence: Of the base.
        places: Folders of this machine that the files name.
    """

    kind: str
    files: Mapping[str, Path]
    card: str
    licence: str
    places: tuple[str, ...] = ()


def package_of(folder: Path, *, name: str) -> Package:
    """Gather a bundle as it was certified, or a base folder, with its card.

    Args:
        folder: Of either; a user's own files in it stay.
        name: Of the repository.

    Raises:
        NuwaError: If it is neither, or a file of the bundle is not as certified.
    """
    if is_bundle(folder):
        bundle = read_bundle(folder)
        if bundle.certificate is not None:
            changes = compare_hashes(folder, bundle.certificate.files)
            if not changes.is_intact:
                lost = ", ".join([*changes.changed, *changes.missing])
                raise NuwaError(
                    f"bundle {folder} is not as it was certified: {lost}",
                    hint=f"nuwa verify {folder} says more; export it again, or restore the files",
                )
        own = [path for top in (*OWN_NAMES, DEVICES) for path in _below(folder / top)]
        files = {path.relative_to(folder).as_posix(): path for path in own}
        named = (bundle.facts.base or "", bundle.facts.data or "")
        places = tuple(place for place in named if Path(place).is_absolute())
        told = bundle.facts.base_licence or UNKNOWN
        return Package("bundle", files, bundle_card(bundle, name=name), told, places)
    if not (folder / CONFIG).is_file():
        raise NuwaError(f"{folder} is neither a bundle nor a base", hint="a bundle holds arch.json, a base config.json")
    facts_of_folder(folder)  # refuses what no base is
    weights = find_weights(folder)
    shards = sorted(files_of_index(weights)) if weights.name.endswith(INDEX_SUFFIX) else []
    listed = [weights, *(folder / shard for shard in shards)]
    beside = [path for path in sorted(folder.glob("*.json")) if path.is_file()]
    licence = licence_of_folder(folder, read_object(folder / CONFIG, what="config of a base"))
    readme = read_text(folder / CARD, what="model card") if (folder / CARD).is_file() else None
    files = {path.name: path for path in (*beside, *listed)}
    return Package("base", files, base_card(readme, licence=licence.name, name=name), licence.name)


def _below(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    return [path] if path.is_file() else []


def push_folder(folder: Path, repository: str, *, is_public: bool = False, is_dry: bool = False) -> PushAnswer:
    """Push a bundle or base, as one commit, into a repository that is made where there is none.

    Args:
        folder: A bundle, or a base in timm's or transformers' layout.
        repository: ``OWNER/NAME``, with ``hf-hub:`` before it or not.
        is_public: Whether a repository that is made now is seen by everybody.
        is_dry: Say what would be pushed, and push nothing.

    Raises:
        NuwaError: As ``package_of``, or if that is no name.
        OutsideError: If the Hub cannot be reached or refuses.
    """
    name, revision = repository_from_text(repository)
    package = package_of(folder, name=name)
    url = None if is_dry else _commit(package, name, revision=revision, is_public=is_public)
    files = {file: path for file, path in package.files.items() if file != README}
    return PushAnswer(
        repository=name,
        kind=package.kind,
        files=(README, *sorted(files)),
        size_mb=round((sum(path.stat().st_size for path in files.values()) + len(package.card.encode())) / 1e6, 2),
        licence=package.licence,
        is_private=not is_public,
        url=url,
        notes=_notes(package),
    )


def _notes(package: Package) -> tuple[str, ...]:
    notes = []
    images = [name for name in package.files if name.startswith((f"{SAMPLES}/", f"{LOST}/", f"{COMPARED}/"))]
    if images:
        below = [f"{one}/" for one in (SAMPLES, LOST, COMPARED) if any(name.startswith(f"{one}/") for name in images)]
        notes.append(f"{len(images)} files of your images go along: {' and '.join(below)}")
    if package.places:
        notes.append(f"certificate and card name where base and images lie here: {', '.join(package.places)}")
    if package.licence == UNKNOWN:
        notes.append("the licence of the base is unknown, and the model card says so: ask before you make it public")
    return tuple(notes)


def _commit(package: Package, name: str, *, revision: str | None, is_public: bool) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(library_name="nuwa-search")
    operations = [CommitOperationAdd(README, package.card.encode())]
    operations += [CommitOperationAdd(file, str(path)) for file, path in package.files.items() if file != README]
    with hub_errors(name, doing="pushed"):
        api.create_repo(name, private=not is_public, exist_ok=True)
        commit = api.create_commit(
            name, operations, commit_message=f"Push a {package.kind} of nuwa-search", revision=revision
        )
    return str(commit.commit_url)
