"""Checkpoints of a run: tensors in safetensors, the rest in JSON, replaced atomically.

``state.json`` names the tensor file it belongs to and is replaced last, so a run killed at any moment
finds either the old checkpoint or the new one, never half of each.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from nuwa_search.core import checked
from nuwa_search.core.documents import MAX_LIST_BYTES, read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.weights import read_tensors

STATE_FILE = "state.json"
TENSORS_GLOB = "step-*.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    Args:
        tensors: Model, average, best weights, optimiser and random state, by prefixed name.
        values: Step, history and all else as JSON values.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint and drop the one before; the folder is made where it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"step-{checkpoint.values['step']:07d}.safetensors"
    _replace(directory / name, lambda path: save_file(_storable(checkpoint.tensors), path))
    text = json.dumps({**checkpoint.values, "tensors": name}, indent=1)
    _replace(directory / STATE_FILE, lambda path: path.write_text(text))
    for old in directory.glob(TENSORS_GLOB):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_checkpoint(directory: Path) -> Checkpoint | None:
    """Read the checkpoint of a folder; None where there is none.

    Raises:
        NuwaError: If it is there but cannot be read.
    """
    path = directory / STATE_FILE
    if not path.exists():
        return None
    hint = "remove the folder to start the run again"
    values = read_object(path, what="checkpoint", hint=hint, max_bytes=MAX_LIST_BYTES)
    try:
        tensors = read_tensors(directory / checked.file_name(values.pop("tensors", None), "tensors"))
        checked.integer(values.get("step"), "step", low=0)
    except NuwaError as error:
        raise NuwaError(f"checkpoint {path} cannot be read: {error.message}", hint=hint) from error
    return Checkpoint(tensors, values)


def _storable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
