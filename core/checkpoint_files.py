"""Tensors of a checkpoint folder, in any file that timm or Hugging Face write them to.

Nothing that a file says about itself is trusted before it fits the file: pickles are read with ``weights_only``,
and the sizes in them are added up before memory is taken.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor

from nuwa_search.core import checked
from nuwa_search.core.documents import MAX_LIST_BYTES, read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.weights import read_tensors, require_finite

SAFETENSORS = "model.safetensors"
INDEX_SUFFIX = ".index.json"
WEIGHT_FILES = (
    SAFETENSORS,
    f"{SAFETENSORS}{INDEX_SUFFIX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX_SUFFIX}",
    "pytorch_model.pth",
    "model.pth",
)
"""In the order in which timm 1.0.31 looks for them (``timm/models/_hub.py``), each sharded form after the whole one."""
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")  # timm's own order in ``load_state_dict``


def find_weights(folder: Path) -> Path:
    """Find the file that holds, or lists, a folder's weights.

    Raises:
        NuwaError: If there is none; the message says what is there instead.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p.name for p in folder.iterdir() if p.is_file())[:8]
    raise NuwaError(
        f"{folder} holds no weights: found {', '.join(found) or 'no file'}",
        hint=f"wanted is one of {', '.join(WEIGHT_FILES)}; timm's save_for_hf writes the first and the third",
    )


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, a pickle of tensors, or an index of either; on the CPU.

    Raises:
        NuwaError: If it is damaged, holds other things than tensors, or a NaN or an infinity, or a file that the
            index names is missing.
    """
    if path.name.endswith(INDEX_SUFFIX):
        return _read_sharded(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    return read_pickled_tensors(path)


def size_of_checkpoint(path: Path) -> int:
    """Add up the bytes of the files that hold the weights.

    Raises:
        NuwaError: If an index cannot be read or lists a file that is missing.
    """
    files = {*_shards(path).values()} if path.name.endswith(INDEX_SUFFIX) else {path}
    return sum(file.stat().st_size for file in files)


def files_of_index(path: Path) -> dict[str, list[str]]:
    """Read an index: names of the tensors in each file, whether the files are there or not.

    Raises:
        NuwaError: If it cannot be read, or a file in it is no plain name.
    """
    index = read_object(path, what="index of weights", max_bytes=MAX_LIST_BYTES)
    files: dict[str, list[str]] = {}
    try:
        for name, file in checked.mapping(index.get("weight_map"), "weight_map").items():
            files.setdefault(checked.file_name(file, f"weight_map: {name}"), []).append(name)
    except NuwaError as error:
        raise NuwaError(f"index of weights {path} cannot be read: {error.message}") from error
    return files


def _shards(path: Path) -> dict[str, Path]:
    """Read an index: the file of each tensor."""
    places = {name: path.with_name(file) for file, names in files_of_index(path).items() for name in names}
    for file in sorted(set(places.values())):
        if not file.is_file() or file.name.endswith(INDEX_SUFFIX):
            raise NuwaError(
                f"{path.name} lists {file.name}, and {path.parent} does not hold it",
                hint=f"fetch or copy {file.name} too",
            )
    return places


def _read_sharded(path: Path) -> dict[str, Tensor]:
    places = _shards(path)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        tensors |= read_checkpoint(file)
    missing = sorted(places.keys() - tensors.keys())
    if missing:
        raise NuwaError(
            f"{path.name} puts {missing[0]} into {places[missing[0]].name}, which does not hold it",
            hint="fetch or copy the files of the checkpoint again",
        )
    return {name: tensors[name] for name in places}


def read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file that ``torch.save`` wrote, with ``weights_only``: no code of it is run.

    Wrappers of training scripts (``{"state_dict": …}``, ``module.`` in front of names) are taken off as timm does.

    Raises:
        NuwaError: If it is damaged, of the format before PyTorch 1.6, or holds other things than tensors.
    """
    _require_plain_archive(path)
    size = path.stat().st_size
    shapes = _load(path, "meta")
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in shapes.values()}  # views share one
    needed = sum(storages.values())
    if needed > size:
        raise NuwaError(
            f"weights {path} say that they take {needed} bytes, and the file has {size}", hint="fetch the file again"
        )
    tensors = _load(path, "cpu")
    require_finite(tensors, origin=f"weights {path}")
    return tensors


def _require_plain_archive(path: Path) -> None:
    """Refuse what is no archive as ``torch.save`` writes it: entries side by side, none of them compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise NuwaError(
            f"weights {path} cannot be read: {error}",
            hint="fetch the file again; one of before PyTorch 1.6 must be saved again with torch.save",
        ) from error
    size = path.stat().st_size
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > size:
        raise NuwaError(f"weights {path} are packed, which torch.save never does", hint="fetch the file again")


def _load(path: Path, device: str) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise NuwaError(
            f"weights {path} hold more than tensors, and no code of a file is run: {_first_line(error)}",
            hint="save the state dict alone: torch.save(model.state_dict(), path), or safetensors",
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
    ) as error:
        raise NuwaError(
            f"weights {path} cannot be read: {_first_line(error)}", hint="fetch or copy the file again"
        ) from error
    return _unwrapped(found, path)


def _unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        for key in _WRAPPERS:
            if isinstance(found.get(key), Mapping):
                found = found[key]
                break
    if not isinstance(found, Mapping) or not found:
        raise NuwaError(f"weights {path} hold {checked.shown(type(found).__name__)}, wanted tensors by name")
    odd = next((k for k, v in found.items() if not isinstance(k, str) or not isinstance(v, Tensor)), None)
    if odd is not None:
        raise NuwaError(
            f"weights {path} hold {checked.shown(odd)}, which is no tensor with a name",
            hint="save the state dict alone: torch.save(model.state_dict(), path), or safetensors",
        )
    return dict(clean_state_dict(dict(found)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
