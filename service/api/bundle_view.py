"""The files of a bundle: which there are, whether they are as certified, and a zip of them."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nuwa_search.deploy.bundle_owner import holds_subnet, object_in
from nuwa_search.deploy.bundle_state import MAX_FILES, state_of
from nuwa_search.deploy.file_hashes import CERTIFICATE, hash_file
from nuwa_search.search.bundle_list import is_finetuned
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.roots import is_inside
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.lineage import Lineage, find_lineage
from nuwa_search.store.store import Store


def bundle_document(subnet_id: str, stored: Lineage, settings: ServiceSettings) -> dict[str, Any] | None:
    """List a bundle's files with hashes, and what they say of it; None for subnets that have none."""
    folder = stored.bundle_dir
    if folder is None:
        return None
    path = Path(folder)
    url = f"/api/v1/subnets/{quote(subnet_id, safe='')}"
    is_served = is_inside(path, settings.roots)
    certified = _certified(path)
    is_own = path.is_dir() and holds_subnet(path, subnet_id)
    found = {name: file for name, file in _files(path).items() if is_served}
    names = sorted({*certified, *found, *([CERTIFICATE] if (path / CERTIFICATE).exists() else [])}) if is_own else []
    state = state_of(path, subnet_id) if is_served and is_own else None
    return {
        "dir": folder,
        "is_missing": not is_own,
        "is_served": is_served,
        "is_finetuned": None if state is None else is_finetuned(state, has_finetuning=bool(stored.finetunings)),
        "devices": [] if state is None else [one.to_json() for one in state.devices],
        "zip": f"{url}/bundle.zip",
        "files": [_file_row(name, path, certified, url) for name in names],
    }


def _file_row(name: str, folder: Path, certified: dict[str, str], url: str) -> dict[str, Any]:
    path = folder / name
    is_missing = not path.is_file()
    digest = None if is_missing else hash_file(path)
    return {
        "name": name,
        "size_bytes": None if is_missing else path.stat().st_size,
        "sha256": certified.get(name, digest),
        "is_missing": is_missing,
        "is_changed": name in certified and digest is not None and digest != certified[name],
        "url": f"{url}/files/{quote(name)}",
    }


def _certified(folder: Path) -> dict[str, str]:
    files = (object_in(folder / CERTIFICATE) or {}).get("files")
    if not isinstance(files, dict):
        return {}
    return {
        str(name): str(digest) for name, digest in files.items() if is_inside(folder / str(name), [folder.resolve()])
    }


def _files(folder: Path) -> dict[str, Path]:
    """Find the files below a folder, by name; links that lead out of it are left out."""
    if not folder.is_dir():
        return {}
    inside = [folder.resolve()]
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_inside(path, inside):
            found[path.relative_to(folder).as_posix()] = path
            if len(found) >= MAX_FILES:
                break
    return found


def served_folder(subnet_id: str, store: Store, settings: ServiceSettings) -> Path:
    """Find the folder of a subnet's bundle.

    Raises:
        HttpError: 404 if it has none or it is gone, 409 if it lies outside the data roots.
    """
    folder = find_lineage(store, subnet_id).bundle_dir
    if folder is None:
        raise HttpError(404, f"no bundle of subnet {subnet_id!r} is known", hint="search, or `nuwa derive` one")
    path = Path(folder)
    if not is_inside(path, settings.roots):
        raise HttpError(409, "the bundle lies outside the data roots of the service", hint="nuwa serve --root FOLDER")
    if not path.is_dir() or not holds_subnet(path, subnet_id):
        raise HttpError(404, f"the bundle of subnet {subnet_id!r} is gone", hint="search again, or restore its folder")
    return path.resolve()


def served_file(folder: Path, name: str) -> Path:
    """Find one file of a bundle by its name.

    Raises:
        HttpError: 404 if there is no such file in the folder.
    """
    found = _files(folder).get(name)
    if found is None:
        raise HttpError(404, f"the bundle has no file {name!r}", hint="the subnet's document lists them")
    return found.resolve()


def zip_of(folder: Path) -> Path:
    """Write the bundle's files into an archive in a temporary file, which the caller deletes.

    While no file of the bundle changes, every archive of it has the same bytes and the same time of change, so that a
    download that broke off can go on in a later one.
    """
    files = _files(folder)
    handle, name = tempfile.mkstemp(prefix="nuwa-bundle-", suffix=".zip")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as into:
            for inside, source in sorted(files.items()):
                into.write(source, f"{folder.name}/{inside}")
        changed = max((one.stat().st_mtime_ns for one in files.values()), default=0)
        os.utime(path, ns=(changed, changed))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
